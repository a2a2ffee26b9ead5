-- step: A contract is written
-- expect: contract.created#22
INSERT INTO `tblcontracts` (`id`, `content`, `subject`, `client`, `datestart`, `dateend`, `contract_type`, `addedfrom`, `dateadded`, `contract_value`, `hash`) VALUES (22, '', 'Yard cameras', 42, '{today}', '{today+365}', 1, 1, '{now}', '900.00', 'must-never-be-read');

-- step: A contract is worth more
-- expect: contract.updated#19
UPDATE `tblcontracts` SET `contract_value` = '6600.00' WHERE `id` = 19;

-- step: A contract has another wording
-- expect: contract.updated#19
UPDATE `tblcontracts` SET `content` = '<p>Support within two hours on working days, by phone, mail and on site, for the sites named in the annex, at the price below.</p>' WHERE `id` = 19;

-- step: The customer comments on a contract
-- expect: contract.comment_added#19
INSERT INTO `tblcontract_comments` (`id`, `content`, `contract_id`, `staffid`, `dateadded`) VALUES (23, 'Please add the on-call numbers.', 19, 0, '{now}');

-- step: The customer signs a contract
-- expect: contract.signed#19
-- expect: contract.updated#19
UPDATE `tblcontracts` SET `signed` = 1, `signature` = 'must-never-be-read', `acceptance_firstname` = 'Eleni', `acceptance_lastname` = 'Markou', `acceptance_email` = 'eleni@harbour-logistics.example', `acceptance_date` = '{now}', `acceptance_ip` = 'must-never-be-read' WHERE `id` = 19;

-- step: The staff marks a contract as signed
-- expect: contract.signed#22
-- expect: contract.updated#22
UPDATE `tblcontracts` SET `marked_as_signed` = 1 WHERE `id` = 22;

-- step: A contract comes near its end
-- expect: contract.expiring#19
-- expect: contract.updated#19
UPDATE `tblcontracts` SET `dateend` = '{today+4}' WHERE `id` = 19;

-- step: The CRM reminds of it
-- expect: contract.updated#19
UPDATE `tblcontracts` SET `isexpirynotified` = 1 WHERE `id` = 19;

-- step: A contract gets a new term
-- expect: contract.renewed#19
-- expect: contract.updated#19
INSERT INTO `tblcontract_renewals` (`id`, `contractid`, `old_start_date`, `new_start_date`, `old_end_date`, `new_end_date`, `old_value`, `new_value`, `date_renewed`, `renewed_by`, `renewed_by_staff_id`) VALUES (6, 19, '2026-01-01', '{today+5}', '{today+4}', '{today+370}', '6600.00', '6900.00', '{now}', 'Nikos Pappas', 3);
UPDATE `tblcontracts` SET `datestart` = '{today+5}', `dateend` = '{today+370}', `contract_value` = '6900.00', `isexpirynotified` = 0 WHERE `id` = 19;

-- step: The last day of a contract goes by
-- expect: contract.expired#20
-- expect: contract.updated#20
UPDATE `tblcontracts` SET `dateend` = '{today-1}' WHERE `id` = 20;

-- step: A contract is put in the trash
-- expect: contract.cancelled#22
-- expect: contract.updated#22
UPDATE `tblcontracts` SET `trash` = 1 WHERE `id` = 22;

-- step: A contract in the trash ends
-- expect: contract.updated#22
UPDATE `tblcontracts` SET `dateend` = '{today-1}' WHERE `id` = 22;

-- step: A contract is removed
-- expect: contract.deleted#22
DELETE FROM `tblcontracts` WHERE `id` = 22;
