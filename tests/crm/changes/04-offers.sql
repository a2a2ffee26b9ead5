-- step: An estimate is written
-- expect: estimate.created#65
INSERT INTO `tblestimates` (`id`, `clientid`, `number`, `prefix`, `hash`, `datecreated`, `date`, `expirydate`, `currency`, `subtotal`, `total`, `addedfrom`, `status`) VALUES (65, 42, 65, 'EST-', 'must-never-be-read', '{now}', '{today}', '{today+14}', 2, '20.00', '20.00', 1, 1);
INSERT INTO `tblitemable` (`id`, `rel_id`, `rel_type`, `description`, `qty`, `rate`, `item_order`) VALUES (911, 65, 'estimate', 'Charging cradle', '1.00', '20.00', 1);

-- step: An estimate holds longer
-- expect: estimate.updated#61
UPDATE `tblestimates` SET `expirydate` = '{today+21}' WHERE `id` = 61;

-- step: A line of an estimate has another text
-- expect: estimate.updated#61
UPDATE `tblitemable` SET `description` = 'Barcode scanner X2' WHERE `id` = 904;

-- step: An estimate goes out by mail
-- expect: estimate.sent#61
-- expect: estimate.status_changed#61
-- expect: estimate.updated#61
UPDATE `tblestimates` SET `sent` = 1, `datesend` = '{now}', `status` = 2 WHERE `id` = 61;

-- step: The customer opens an estimate
-- expect: estimate.viewed#61
INSERT INTO `tblviews_tracking` (`id`, `rel_id`, `rel_type`, `date`, `view_ip`) VALUES (3, 61, 'estimate', '{now}', 'must-never-be-read');

-- step: The customer takes the offer
-- expect: estimate.accepted#61
-- expect: estimate.status_changed#61
-- expect: estimate.updated#61
UPDATE `tblestimates` SET `status` = 4, `acceptance_firstname` = 'Eleni', `acceptance_lastname` = 'Markou', `acceptance_email` = 'eleni@harbour-logistics.example', `acceptance_date` = '{now}', `acceptance_ip` = 'must-never-be-read', `signature` = 'must-never-be-read' WHERE `id` = 61;

-- step: An estimate is made into an invoice
-- expect: invoice.created#137
-- expect: estimate.converted#61
-- expect: estimate.updated#61
INSERT INTO `tblinvoices` (`id`, `clientid`, `number`, `prefix`, `datecreated`, `date`, `duedate`, `currency`, `subtotal`, `total`, `hash`, `status`, `discount_type`) VALUES (137, 42, 137, 'INV-', '{now}', '{today}', '{today+30}', 2, '360.00', '446.40', 'must-never-be-read', 1, '');
UPDATE `tblestimates` SET `invoiceid` = 137, `invoiced_date` = '{now}' WHERE `id` = 61;

-- step: The customer turns an offer down
-- expect: estimate.declined#62
-- expect: estimate.status_changed#62
-- expect: estimate.updated#62
UPDATE `tblestimates` SET `status` = 3 WHERE `id` = 62;

-- step: An open estimate comes near its last day
-- expect: estimate.expiring#63
-- expect: estimate.updated#63
UPDATE `tblestimates` SET `expirydate` = '{today+3}' WHERE `id` = 63;

-- step: The CRM reminds of it, which says the same again
-- expect: estimate.updated#63
UPDATE `tblestimates` SET `is_expiry_notified` = 1 WHERE `id` = 63;

-- step: The CRM reminds of another that was near before the first scan
-- expect: estimate.expiring#64
-- expect: estimate.updated#64
UPDATE `tblestimates` SET `is_expiry_notified` = 1 WHERE `id` = 64;

-- step: The CRM finds an estimate expired
-- expect: estimate.expired#64
-- expect: estimate.status_changed#64
-- expect: estimate.updated#64
UPDATE `tblestimates` SET `status` = 5 WHERE `id` = 64;

-- step: An estimate is removed
-- expect: estimate.deleted#65
DELETE FROM `tblitemable` WHERE `rel_id` = 65 AND `rel_type` = 'estimate';
DELETE FROM `tblestimates` WHERE `id` = 65;

-- step: A proposal is written
-- expect: proposal.created#37
INSERT INTO `tblproposals` (`id`, `subject`, `addedfrom`, `datecreated`, `total`, `subtotal`, `discount_percent`, `discount_total`, `currency`, `open_till`, `date`, `rel_id`, `rel_type`, `hash`, `proposal_to`, `email`, `status`) VALUES (37, 'Yard cameras', 1, '{now}', '900.00', '900.00', '0.00', '0.00', 2, '{today+14}', '{today}', 42, 'customer', 'must-never-be-read', 'Eleni Markou', 'eleni@harbour-logistics.example', 6);

-- step: A proposal holds longer
-- expect: proposal.updated#35
UPDATE `tblproposals` SET `open_till` = '{today+30}' WHERE `id` = 35;

-- step: A proposal goes out by mail
-- expect: proposal.sent#35
-- expect: proposal.status_changed#35
-- expect: proposal.updated#35
UPDATE `tblproposals` SET `status` = 4 WHERE `id` = 35;

-- step: A proposal is opened
-- expect: proposal.viewed#35
INSERT INTO `tblviews_tracking` (`id`, `rel_id`, `rel_type`, `date`, `view_ip`) VALUES (4, 35, 'proposal', '{now}', 'must-never-be-read');

-- step: The other side comments on a proposal
-- expect: proposal.comment_added#35
INSERT INTO `tblproposal_comments` (`id`, `content`, `proposalid`, `staffid`, `dateadded`) VALUES (58, 'Can the rollout start a week earlier?', 35, 0, '{now}');

-- step: A proposal is taken
-- expect: proposal.accepted#35
-- expect: proposal.status_changed#35
-- expect: proposal.updated#35
UPDATE `tblproposals` SET `status` = 3, `acceptance_firstname` = 'Ioanna', `acceptance_lastname` = 'Vale', `acceptance_email` = 'ioanna@vale-ceramics.example', `acceptance_date` = '{now}', `acceptance_ip` = 'must-never-be-read' WHERE `id` = 35;

-- step: A proposal is made into an estimate
-- expect: estimate.created#66
-- expect: proposal.converted#35
-- expect: proposal.updated#35
INSERT INTO `tblestimates` (`id`, `clientid`, `number`, `prefix`, `hash`, `datecreated`, `date`, `expirydate`, `currency`, `subtotal`, `total`, `addedfrom`, `status`) VALUES (66, 46, 66, 'EST-', 'must-never-be-read', '{now}', '{today}', '{today+14}', 2, '2000.00', '2400.00', 1, 1);
UPDATE `tblproposals` SET `estimate_id` = 66, `date_converted` = '{now}' WHERE `id` = 35;

-- step: A proposal is turned down
-- expect: proposal.declined#36
-- expect: proposal.status_changed#36
-- expect: proposal.updated#36
UPDATE `tblproposals` SET `status` = 2 WHERE `id` = 36;

-- step: A proposal is removed
-- expect: proposal.deleted#37
DELETE FROM `tblproposals` WHERE `id` = 37;
