-- Fills twenty tables of the CRM (tests/crm/schema.sql) with {rows} rows each, their lists with what belongs to them, and
-- the short lists that they look into. Ids are 1 to {rows}. Values are made of the id, so that every filling is the same,
-- except that what must not fall due while somebody measures is put off from today. Rows come from MariaDB's SEQUENCE engine.

SET SESSION unique_checks = 0;

INSERT INTO `tbloptions` (`name`, `value`) VALUES
  ('default_timezone', 'Europe/Berlin'), ('contract_expiration_before', '4'), ('send_estimate_expiry_reminder_before', '4');
INSERT INTO `tblcurrencies` (`id`, `symbol`, `name`, `decimal_separator`, `thousand_separator`, `placement`, `isdefault`) VALUES
  (1, '$', 'USD', '.', ',', 'before', 1), (2, '€', 'EUR', ',', '.', 'before', 0);
INSERT INTO `tblleads_status` (`id`, `name`, `statusorder`, `isdefault`) VALUES
  (1, 'Customer', 1000, 1), (2, 'Contacted', 1, 0), (3, 'Qualified', 2, 0);
INSERT INTO `tblleads_sources` (`id`, `name`) VALUES (1, 'Google'), (2, 'Facebook');
INSERT INTO `tbltickets_status` (`ticketstatusid`, `name`, `isdefault`, `statusorder`) VALUES
  (1, 'Open', 1, 1), (2, 'In progress', 1, 2), (3, 'Answered', 1, 3), (4, 'On Hold', 1, 4), (5, 'Closed', 1, 5);
INSERT INTO `tbltickets_priorities` (`priorityid`, `name`) VALUES (1, 'Low'), (2, 'Medium'), (3, 'High');
INSERT INTO `tblcontracts_types` (`id`, `name`) VALUES (1, 'Retainer'), (2, 'Hosting');
INSERT INTO `tbltaxes` (`id`, `name`, `taxrate`) VALUES (1, 'VAT', '24.00');
INSERT INTO `tbldepartments` (`departmentid`, `name`, `email`) VALUES (1, 'Support', 'support@vendor.example'), (2, 'Sales', NULL);
INSERT INTO `tblpayment_modes` (`id`, `name`, `description`) VALUES (1, 'Bank', 'IBAN on the invoice');
INSERT INTO `tblcustomers_groups` (`id`, `name`) VALUES (1, 'Wholesale'), (2, 'Newsletter'), (3, 'Partners');
INSERT INTO `tblstaff` (`staffid`, `email`, `firstname`, `lastname`, `password`, `datecreated`, `hourly_rate`)
  SELECT seq, CONCAT('staff', seq, '@vendor.example'), 'Nikos', CONCAT('Pappas ', seq), '', '2021-01-04 09:00:00', '60.00' FROM seq_1_to_20;

INSERT INTO `tblclients` (`userid`, `company`, `vat`, `phonenumber`, `country`, `city`, `zip`, `state`, `address`, `website`, `datecreated`, `active`, `billing_street`, `billing_city`, `billing_zip`, `billing_country`, `default_language`, `default_currency`, `addedfrom`)
  SELECT seq, CONCAT(ELT(1 + seq % 4, 'Harbour Logistics', 'Αιγαίο Εργαλεία', 'Müller & Söhne', 'Vale Ceramics'), ' ', seq), CONCAT('EL', 800000000 + seq), CONCAT('+30 210 ', 5000000 + seq), 85, ELT(1 + seq % 3, 'Piraeus', 'Athens', 'Volos'), 10000 + seq % 90000, 'Attica', CONCAT(seq % 200, ' Akti Miaouli'), CONCAT('https://customer', seq, '.example'), '2021-01-01' + INTERVAL seq * 20 MINUTE, seq % 50 > 0, CONCAT(seq % 200, ' Akti Miaouli'), 'Piraeus', 10000 + seq % 90000, 85, 'english', 2, 1 + seq % 20 FROM seq_1_to_{rows};
INSERT INTO `tblcustomer_groups` (`groupid`, `customer_id`) SELECT 1 + seq % 3, seq FROM seq_1_to_{rows};
INSERT INTO `tblcontacts` (`id`, `userid`, `firstname`, `lastname`, `email`, `phonenumber`, `title`, `datecreated`, `email_verified_at`, `last_login`)
  SELECT seq, seq, ELT(1 + seq % 4, 'Eleni', 'Petros', 'Ioanna', 'Jürgen'), CONCAT('Markou ', seq), CONCAT('contact', seq, '@customer.example'), CONCAT('+30 694 ', 5000000 + seq), 'Finance Manager', '2021-01-01' + INTERVAL seq * 20 MINUTE, '2025-01-01 10:00:00', '2025-11-01' + INTERVAL seq SECOND FROM seq_1_to_{rows};
INSERT INTO `tblleads` (`id`, `name`, `title`, `company`, `description`, `country`, `city`, `assigned`, `dateadded`, `status`, `source`, `addedfrom`, `email`, `phonenumber`, `lead_value`)
  SELECT seq, CONCAT('Ioanna Vale ', seq), 'Owner', CONCAT('Vale Ceramics ', seq), CONCAT('Wants a quote for ', seq % 9, ' kilns. ', REPEAT('Called back, was not there. ', seq % 8)), 85, 'Volos', 1 + seq % 20, '2021-01-01' + INTERVAL seq * 20 MINUTE, 2 + seq % 2, 1 + seq % 2, 1, CONCAT('lead', seq, '@vale-ceramics.example'), CONCAT('+30 694 ', 6000000 + seq), seq % 9000 FROM seq_1_to_{rows};
INSERT INTO `tblnotes` (`id`, `rel_id`, `rel_type`, `description`, `addedfrom`, `dateadded`)
  SELECT seq, seq, ELT(1 + seq % 2, 'customer', 'lead'), CONCAT('Note ', seq, ': ', REPEAT('prefers invoices by mail, ', 1 + seq % 12)), 1 + seq % 20, '2021-01-01' + INTERVAL seq * 20 MINUTE FROM seq_1_to_{rows};

INSERT INTO `tblitems` (`id`, `description`, `long_description`, `rate`, `tax`, `unit`, `group_id`)
  SELECT seq, CONCAT('Article ', seq), REPEAT('Handheld scanner with a cradle. ', 1 + seq % 6), 1 + seq % 900, 1, 'pcs', 1 + seq % 9 FROM seq_1_to_{rows};
INSERT INTO `tblproposals` (`id`, `subject`, `addedfrom`, `datecreated`, `total`, `subtotal`, `total_tax`, `discount_percent`, `discount_total`, `currency`, `open_till`, `date`, `rel_id`, `rel_type`, `assigned`, `hash`, `proposal_to`, `city`, `email`, `status`)
  SELECT seq, CONCAT('Warehouse scanner rollout ', seq), 1, '2021-01-01' + INTERVAL seq * 20 MINUTE, 24 * (1 + seq % 99), 20 * (1 + seq % 99), 4 * (1 + seq % 99), 0, 0, 2, '2025-01-01', '2021-01-01' + INTERVAL seq DIV 72 DAY, seq, 'customer', 1 + seq % 20, MD5(seq), CONCAT('Eleni Markou ', seq), 'Piraeus', CONCAT('contact', seq, '@customer.example'), 1 + seq % 6 FROM seq_1_to_{rows};
INSERT INTO `tblestimates` (`id`, `sent`, `clientid`, `number`, `prefix`, `number_format`, `formatted_number`, `datecreated`, `date`, `expirydate`, `currency`, `subtotal`, `total_tax`, `total`, `addedfrom`, `status`, `adminnote`, `discount_type`, `terms`, `sale_agent`)
  SELECT seq, 1, seq, seq, 'EST-', 1, CONCAT('EST-', LPAD(seq, 6, '0')), '2021-01-01' + INTERVAL seq * 20 MINUTE, '2021-01-01' + INTERVAL seq DIV 72 DAY, CURDATE() + INTERVAL 30 + seq % 60 DAY, 2, 100 * (1 + seq % 99), 24 * (1 + seq % 99), 124 * (1 + seq % 99), 1 + seq % 20, 1 + seq % 5, '', '', 'Thirty days from the date above.', 1 + seq % 20 FROM seq_1_to_{rows};
INSERT INTO `tblinvoices` (`id`, `sent`, `datesend`, `clientid`, `number`, `prefix`, `number_format`, `formatted_number`, `datecreated`, `date`, `duedate`, `currency`, `subtotal`, `total_tax`, `total`, `adjustment`, `addedfrom`, `hash`, `status`, `adminnote`, `allowed_payment_modes`, `discount_type`, `terms`, `sale_agent`, `billing_street`, `billing_city`, `billing_country`)
  SELECT seq, 1, '2021-01-02' + INTERVAL seq * 20 MINUTE, seq, seq, 'INV-', 1, CONCAT('INV-', LPAD(seq, 6, '0')), '2021-01-01' + INTERVAL seq * 20 MINUTE, '2021-01-01' + INTERVAL seq DIV 72 DAY, IF(seq % 10 = 0, CURDATE() + INTERVAL 30 + seq % 60 DAY, '2021-02-01' + INTERVAL seq DIV 72 DAY), 2, 100 * (1 + seq % 99), 24 * (1 + seq % 99), 124 * (1 + seq % 99), 0, 1 + seq % 20, MD5(seq), ELT(1 + seq % 10, 1, 2, 2, 2, 2, 2, 2, 2, 4, 5), '', 'a:2:{i:0;s:1:"1";i:1;s:6:"stripe";}', '', 'Payable within thirty days.', 1 + seq % 20, CONCAT(seq % 200, ' Akti Miaouli'), 'Piraeus', 85 FROM seq_1_to_{rows};
INSERT INTO `tblitemable` (`rel_id`, `rel_type`, `description`, `long_description`, `qty`, `rate`, `unit`, `item_order`)
  SELECT i.seq, 'invoice', CONCAT('Article ', 1 + (i.seq * l.seq) % {rows}), 'Handheld 2D scanner', 1 + i.seq % 5, 1 + (i.seq * l.seq) % 900, 'pcs', l.seq FROM seq_1_to_{rows} i JOIN seq_1_to_2 l ORDER BY i.seq, l.seq;
INSERT INTO `tblitem_tax` (`itemid`, `rel_id`, `rel_type`, `taxrate`, `taxname`)
  SELECT `id`, `rel_id`, `rel_type`, '24.00', 'VAT' FROM `tblitemable` ORDER BY `id`;
INSERT INTO `tblinvoicepaymentrecords` (`id`, `invoiceid`, `amount`, `paymentmode`, `date`, `daterecorded`, `note`, `transactionid`)
  SELECT seq, seq, 124 * (1 + seq % 99), '1', '2021-01-15' + INTERVAL seq DIV 72 DAY, '2021-01-15' + INTERVAL seq * 20 MINUTE, '', CONCAT('BANK-', seq) FROM seq_1_to_{rows};
INSERT INTO `tblcreditnotes` (`id`, `clientid`, `number`, `prefix`, `formatted_number`, `datecreated`, `date`, `adminnote`, `currency`, `subtotal`, `total_tax`, `total`, `addedfrom`, `status`, `discount_type`, `reference_no`)
  SELECT seq, seq, seq, 'CN-', CONCAT('CN-', LPAD(seq, 6, '0')), '2021-01-01' + INTERVAL seq * 20 MINUTE, '2021-01-01' + INTERVAL seq DIV 72 DAY, '', 2, 100, 20, 120, 1 + seq % 20, 1 + seq % 3, '', CONCAT('RMA-', seq) FROM seq_1_to_{rows};
INSERT INTO `tblexpenses` (`id`, `category`, `currency`, `amount`, `tax`, `reference_no`, `note`, `expense_name`, `clientid`, `billable`, `paymentmode`, `date`, `send_invoice_to_customer`, `dateadded`, `addedfrom`)
  SELECT seq, 1 + seq % 9, 2, 1 + seq % 500, 1, CONCAT('DHL-', seq), REPEAT('Paid in advance. ', seq % 4), 'Courier', seq, 1, '1', '2021-01-01' + INTERVAL seq DIV 72 DAY, 0, '2021-01-01' + INTERVAL seq * 20 MINUTE, 1 + seq % 20 FROM seq_1_to_{rows};

INSERT INTO `tblcontracts` (`id`, `content`, `description`, `subject`, `client`, `datestart`, `dateend`, `contract_type`, `addedfrom`, `dateadded`, `contract_value`)
  SELECT seq, REPEAT('<p>Support within four hours on working days, by phone and on site.</p>', 1 + seq % 20), '', CONCAT('Support retainer ', seq), seq, '2021-01-01', IF(seq % 5 = 0, '2024-12-31', CURDATE() + INTERVAL 30 + seq % 900 DAY), 1 + seq % 2, 1 + seq % 20, '2021-01-01' + INTERVAL seq * 20 MINUTE, 6000 FROM seq_1_to_{rows};
INSERT INTO `tblprojects` (`id`, `name`, `description`, `status`, `clientid`, `billing_type`, `start_date`, `deadline`, `project_created`, `progress`, `project_cost`, `addedfrom`)
  SELECT seq, CONCAT('Scanner rollout ', seq), REPEAT('Two gates, then the yard. ', 1 + seq % 9), 1 + seq % 5, seq, 1, '2021-01-01' + INTERVAL seq DIV 72 DAY, '2026-06-30', '2021-01-01' + INTERVAL seq DIV 72 DAY, seq % 101, 2000, 1 + seq % 20 FROM seq_1_to_{rows};
INSERT INTO `tbltasks` (`id`, `name`, `description`, `priority`, `dateadded`, `startdate`, `duedate`, `addedfrom`, `status`, `rel_id`, `rel_type`, `hourly_rate`)
  SELECT seq, CONCAT('Configure scanner ', seq), REPEAT('All of gate 1, and then some. ', 1 + seq % 9), 1 + seq % 4, '2021-01-01' + INTERVAL seq * 20 MINUTE, '2021-01-01' + INTERVAL seq DIV 72 DAY, IF(seq % 4 = 0, CURDATE() + INTERVAL 30 + seq % 60 DAY, '2021-02-01' + INTERVAL seq DIV 72 DAY), 1 + seq % 20, IF(seq % 4 = 0, 4, 5), seq, 'project', '60.00' FROM seq_1_to_{rows};
INSERT INTO `tbltask_assigned` (`id`, `staffid`, `taskid`, `assigned_from`) SELECT seq, 1 + seq % 20, seq, 1 FROM seq_1_to_{rows};
INSERT INTO `tbltask_comments` (`id`, `content`, `taskid`, `staffid`, `dateadded`)
  SELECT seq, REPEAT('Done at gate 1, the rest tomorrow. ', 1 + seq % 9), seq, 1 + seq % 20, '2021-01-01' + INTERVAL seq * 20 MINUTE FROM seq_1_to_{rows};
INSERT INTO `tbltask_checklist_items` (`id`, `taskid`, `description`, `finished`, `dateadded`, `addedfrom`, `list_order`)
  SELECT seq, seq, 'Test one scan at each gate', seq % 4 > 0, '2021-01-01' + INTERVAL seq * 20 MINUTE, 1 + seq % 20, 1 FROM seq_1_to_{rows};
INSERT INTO `tbltaskstimers` (`id`, `task_id`, `start_time`, `end_time`, `staff_id`, `hourly_rate`, `note`)
  SELECT seq, seq, 1609459200 + seq * 1200, 1609459200 + seq * 1200 + 900, 1 + seq % 20, '60.00', 'On-site setup' FROM seq_1_to_{rows};

INSERT INTO `tbltickets` (`ticketid`, `userid`, `contactid`, `department`, `priority`, `status`, `service`, `ticketkey`, `subject`, `message`, `date`, `lastreply`, `assigned`)
  SELECT seq, seq, seq, 1 + seq % 2, 1 + seq % 3, 1 + seq % 5, 1, MD5(seq), CONCAT('Scanner ', seq, ' offline'), REPEAT('It does not connect since this morning. ', 1 + seq % 12), '2021-01-01' + INTERVAL seq * 20 MINUTE, '2021-01-02' + INTERVAL seq * 20 MINUTE, 1 + seq % 20 FROM seq_1_to_{rows};
INSERT INTO `tblticket_replies` (`id`, `ticketid`, `userid`, `contactid`, `date`, `message`)
  SELECT seq, seq, seq, seq, '2021-01-02' + INTERVAL seq * 20 MINUTE, REPEAT('Still the same after a restart. ', 1 + seq % 12) FROM seq_1_to_{rows};
