-- step: A tax is added
-- expect: utility.tax_created#2
INSERT INTO `tbltaxes` (`id`, `name`, `taxrate`) VALUES (2, 'VAT reduced', '13.00');

-- step: A tax is raised
-- expect: utility.tax_updated#1
UPDATE `tbltaxes` SET `taxrate` = '25.00' WHERE `id` = 1;

-- step: A department is added
-- expect: utility.department_created#4
INSERT INTO `tbldepartments` (`departmentid`, `name`, `email`, `password`) VALUES (4, 'Returns', 'returns@vendor.example', 'must-never-be-read');

-- step: A way to pay is added
-- expect: utility.payment_mode_created#3
INSERT INTO `tblpayment_modes` (`id`, `name`, `description`) VALUES (3, 'Cash', 'At the counter');

-- step: A way to pay is switched off
-- expect: utility.payment_mode_updated#3
UPDATE `tblpayment_modes` SET `active` = 0 WHERE `id` = 3;

-- step: A stage of the pipeline is added
-- expect: utility.lookup_changed#7
INSERT INTO `tblleads_status` (`id`, `name`, `statusorder`) VALUES (7, 'Contract sent', 3);

-- step: A source of leads has another name
-- expect: utility.lookup_changed#2
UPDATE `tblleads_sources` SET `name` = 'Social media' WHERE `id` = 2;

-- step: A status of tickets has another colour
-- expect: utility.lookup_changed#4
UPDATE `tbltickets_status` SET `statuscolor` = '#c0392b' WHERE `ticketstatusid` = 4;

-- step: A priority, a currency and a kind of contract are added, and a source of leads removed
-- expect: utility.lookup_changed#4
-- expect: utility.lookup_changed#3
-- expect: utility.lookup_changed#2
-- expect: utility.lookup_changed#1
INSERT INTO `tbltickets_priorities` (`priorityid`, `name`) VALUES (4, 'Urgent');
INSERT INTO `tblcurrencies` (`id`, `symbol`, `name`) VALUES (3, 'Fr.', 'CHF');
INSERT INTO `tblcontracts_types` (`id`, `name`) VALUES (2, 'One-off');
DELETE FROM `tblleads_sources` WHERE `id` = 1;
