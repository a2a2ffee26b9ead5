-- step: A lead comes in by a web form
-- expect: lead.created#315
INSERT INTO `tblleads` (`id`, `hash`, `name`, `company`, `country`, `dateadded`, `from_form_id`, `status`, `source`, `addedfrom`, `email`) VALUES (315, 'must-never-be-read', 'Jan Kolar', 'Kolar Metal', 57, '{now}', 2, 2, 1, 0, 'jan@kolar-metal.example');

-- step: A lead is worth more
-- expect: lead.updated#312
UPDATE `tblleads` SET `lead_value` = '9200.00' WHERE `id` = 312;

-- step: A custom field of a lead has another value, and another one its first
-- expect: lead.updated#311
UPDATE `tblcustomfieldsvalues` SET `value` = '2000' WHERE `id` = 1;
INSERT INTO `tblcustomfieldsvalues` (`id`, `relid`, `fieldid`, `fieldto`, `value`) VALUES (3, 311, 2, 'leads', 'South');

-- step: The custom fields of a lead are saved as they are, with new keys, and those of another one are saved empty
DELETE FROM `tblcustomfieldsvalues` WHERE `relid` = 311 AND `fieldto` = 'leads';
INSERT INTO `tblcustomfieldsvalues` (`id`, `relid`, `fieldid`, `fieldto`, `value`) VALUES (4, 311, 2, 'leads', 'South'), (5, 311, 1, 'leads', '2000'), (6, 312, 1, 'leads', '');

-- step: A custom field has another label
UPDATE `tblcustomfields` SET `name` = 'Budget in EUR' WHERE `id` = 1;

-- step: A lead is moved up within its column of the board
UPDATE `tblleads` SET `leadorder` = 4 WHERE `id` = 312;

-- step: A lead is handed to a staff member
-- expect: lead.assigned#311
-- expect: lead.updated#311
UPDATE `tblleads` SET `assigned` = 3, `dateassigned` = '{today}' WHERE `id` = 311;

-- step: A lead is taken from a staff member
-- expect: lead.updated#312
UPDATE `tblleads` SET `assigned` = 0 WHERE `id` = 312;

-- step: A lead moves to another stage
-- expect: lead.status_changed#311
-- expect: lead.updated#311
UPDATE `tblleads` SET `status` = 3, `last_lead_status` = 2, `last_status_change` = '{now}' WHERE `id` = 311;

-- step: A note is left on a lead
-- expect: note.created#914
-- expect: lead.note_added#311
INSERT INTO `tblnotes` (`id`, `rel_id`, `rel_type`, `description`, `date_contacted`, `addedfrom`, `dateadded`) VALUES (914, 311, 'lead', 'Prefers a call after 16:00.', '{now-1h}', 3, '{now}');

-- step: A lead is given up as lost
-- expect: lead.lost#312
-- expect: lead.status_changed#312
-- expect: lead.updated#312
UPDATE `tblleads` SET `lost` = 1, `status` = 0, `last_lead_status` = 2, `last_status_change` = '{now}' WHERE `id` = 312;

-- step: A lead is set aside as junk
-- expect: lead.junk#313
-- expect: lead.status_changed#313
-- expect: lead.updated#313
UPDATE `tblleads` SET `junk` = 1, `status` = 0, `last_lead_status` = 2, `last_status_change` = '{now}' WHERE `id` = 313;

-- step: A lead becomes a customer
-- expect: customer.created#46
-- expect: contact.created#82
-- expect: customer.contact_added#46
-- expect: lead.converted#311
-- expect: lead.status_changed#311
-- expect: lead.updated#311
INSERT INTO `tblclients` (`userid`, `company`, `country`, `city`, `datecreated`, `leadid`, `default_currency`, `addedfrom`) VALUES (46, 'Vale Ceramics', 85, 'Volos', '{now}', 311, 2, 3);
INSERT INTO `tblcontacts` (`id`, `userid`, `is_primary`, `firstname`, `lastname`, `email`, `phonenumber`, `datecreated`, `password`) VALUES (82, 46, 1, 'Ioanna', 'Vale', 'ioanna@vale-ceramics.example', '+30 694 555 0211', '{now}', 'must-never-be-read');
UPDATE `tblleads` SET `date_converted` = '{now}', `status` = 1, `junk` = 0, `lost` = 0, `last_status_change` = '{now}' WHERE `id` = 311;

-- step: A lead is removed
-- expect: lead.deleted#314
DELETE FROM `tblleads` WHERE `id` = 314;
