-- step: A customer signs up, with a contact whose address the CRM takes as verified
-- expect: customer.created#44
-- expect: contact.created#80
-- expect: customer.contact_added#44
INSERT INTO `tblclients` (`userid`, `company`, `phonenumber`, `country`, `city`, `datecreated`, `default_currency`, `stripe_id`, `addedfrom`) VALUES (44, 'Blue Cove Charter', '+30 224 555 0144', 85, 'Kos', '{now}', 2, 'must-never-be-read', 0);
INSERT INTO `tblcontacts` (`id`, `userid`, `is_primary`, `firstname`, `lastname`, `email`, `phonenumber`, `datecreated`, `password`, `email_verified_at`) VALUES (80, 44, 1, 'Ada', 'Moran', 'ada@blue-cove.example', '', '{now}', 'must-never-be-read', '{now}');

-- step: A customer is entered who is in a group from the start
-- expect: customer.created#45
INSERT INTO `tblclients` (`userid`, `company`, `country`, `datecreated`, `default_currency`, `addedfrom`) VALUES (45, 'Lykos Print', 85, '{now}', 2, 1);
INSERT INTO `tblcustomer_groups` (`id`, `groupid`, `customer_id`) VALUES (2, 5, 45);

-- step: A customer has another phone number
-- expect: customer.updated#42
UPDATE `tblclients` SET `phonenumber` = '+30 210 555 0199' WHERE `userid` = 42;

-- step: The payment gateway gives a customer its key, which is not read
UPDATE `tblclients` SET `stripe_id` = 'must-never-be-read either' WHERE `userid` = 42;

-- step: A customer is switched inactive
-- expect: customer.status_changed#43
-- expect: customer.updated#43
UPDATE `tblclients` SET `active` = 0 WHERE `userid` = 43;

-- step: A customer joins a group
-- expect: customer.group_changed#42
INSERT INTO `tblcustomer_groups` (`id`, `groupid`, `customer_id`) VALUES (3, 5, 42);

-- step: A customer is saved with the groups it had, which are written anew
DELETE FROM `tblcustomer_groups` WHERE `customer_id` = 42;
INSERT INTO `tblcustomer_groups` (`id`, `groupid`, `customer_id`) VALUES (4, 5, 42), (5, 2, 42);

-- step: A group has another name, which makes nobody a member of another group
UPDATE `tblcustomers_groups` SET `name` = 'Monthly newsletter' WHERE `id` = 5;

-- step: A customer leaves a group
-- expect: customer.group_changed#42
DELETE FROM `tblcustomer_groups` WHERE `id` = 5;

-- step: A customer gets another contact
-- expect: contact.created#81
-- expect: customer.contact_added#42
INSERT INTO `tblcontacts` (`id`, `userid`, `is_primary`, `firstname`, `lastname`, `email`, `phonenumber`, `datecreated`, `password`) VALUES (81, 42, 0, 'Lea', 'Roth', 'lea@harbour-logistics.example', '', '{now}', 'must-never-be-read');

-- step: A contact has another title
-- expect: contact.updated#77
-- expect: customer.contact_updated#42
UPDATE `tblcontacts` SET `title` = 'Head of Finance' WHERE `id` = 77;

-- step: A contact signs in
UPDATE `tblcontacts` SET `last_login` = '{now}', `last_ip` = 'must-never-be-read either' WHERE `id` = 77;

-- step: A contact proves to own the address
-- expect: contact.email_verified#78
-- expect: contact.updated#78
-- expect: customer.contact_updated#42
UPDATE `tblcontacts` SET `email_verified_at` = '{now}', `email_verification_key` = NULL WHERE `id` = 78;

-- step: A contact may no longer sign in
-- expect: contact.status_changed#78
-- expect: contact.updated#78
-- expect: customer.contact_updated#42
UPDATE `tblcontacts` SET `active` = 0 WHERE `id` = 78;

-- step: A contact is removed
-- expect: contact.deleted#81
-- expect: customer.contact_deleted#42
DELETE FROM `tblcontacts` WHERE `id` = 81;

-- step: A note is left on a customer
-- expect: note.created#912
-- expect: customer.note_added#42
INSERT INTO `tblnotes` (`id`, `rel_id`, `rel_type`, `description`, `addedfrom`, `dateadded`) VALUES (912, 42, 'customer', 'Asked for quarterly billing.', 3, '{now}');

-- step: A note is left on an invoice
-- expect: note.created#913
INSERT INTO `tblnotes` (`id`, `rel_id`, `rel_type`, `description`, `addedfrom`, `dateadded`) VALUES (913, 128, 'invoice', 'Paid by the parent company.', 3, '{now}');

-- step: The text of a note is changed
-- expect: note.updated#912
UPDATE `tblnotes` SET `description` = 'Asked for quarterly billing from July on.' WHERE `id` = 912;

-- step: A note is removed
-- expect: note.deleted#911
DELETE FROM `tblnotes` WHERE `id` = 911;

-- step: A customer is removed with what belongs to it
-- expect: customer.deleted#44
-- expect: contact.deleted#80
-- expect: customer.contact_deleted#44
DELETE FROM `tblcontacts` WHERE `userid` = 44;
DELETE FROM `tblclients` WHERE `userid` = 44;

-- step: A customer is removed who was in a group
-- expect: customer.deleted#45
DELETE FROM `tblcustomer_groups` WHERE `customer_id` = 45;
DELETE FROM `tblclients` WHERE `userid` = 45;
