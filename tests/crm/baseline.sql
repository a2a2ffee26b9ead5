-- What is there before the first scan. Some of it is overdue or expired already: nothing follows from that.

INSERT INTO `tbloptions` (`name`, `value`) VALUES
  ('default_timezone', 'Europe/Berlin'), ('contract_expiration_before', '4'), ('send_estimate_expiry_reminder_before', '4'), ('smtp_password', 'must-never-be-read');

INSERT INTO `tblcurrencies` (`id`, `symbol`, `name`, `decimal_separator`, `thousand_separator`, `placement`, `isdefault`) VALUES
  (1, '$', 'USD', '.', ',', 'before', 1), (2, '€', 'EUR', ',', '.', 'before', 0);
INSERT INTO `tblleads_status` (`id`, `name`, `statusorder`, `isdefault`) VALUES (1, 'Customer', 1000, 1), (2, 'Contacted', 1, 0), (3, 'Qualified', 2, 0);
INSERT INTO `tblleads_sources` (`id`, `name`) VALUES (1, 'Google'), (2, 'Facebook');
INSERT INTO `tbltickets_status` (`ticketstatusid`, `name`, `isdefault`, `statusorder`) VALUES
  (1, 'Open', 1, 1), (2, 'In progress', 1, 2), (3, 'Answered', 1, 3), (4, 'On Hold', 1, 4), (5, 'Closed', 1, 5);
INSERT INTO `tbltickets_priorities` (`priorityid`, `name`) VALUES (1, 'Low'), (2, 'Medium'), (3, 'High');
INSERT INTO `tblcontracts_types` (`id`, `name`) VALUES (1, 'Retainer');
INSERT INTO `tbltaxes` (`id`, `name`, `taxrate`) VALUES (1, 'VAT', '24.00');
INSERT INTO `tbldepartments` (`departmentid`, `name`, `email`, `password`, `host`) VALUES (1, 'Support', 'support@vendor.example', 'must-never-be-read', 'must-never-be-read');
INSERT INTO `tblpayment_modes` (`id`, `name`, `description`) VALUES (1, 'Bank', 'IBAN on the invoice');
INSERT INTO `tblcountries` (`country_id`, `iso2`, `short_name`, `iso3`, `calling_code`) VALUES (83, 'DE', 'Germany', 'DEU', '49'), (236, 'US', 'United States', 'USA', '1');
INSERT INTO `tblitems_groups` (`id`, `name`) VALUES (1, 'Services'), (4, 'Hardware');
INSERT INTO `tblcustomers_groups` (`id`, `name`) VALUES (2, 'Wholesale'), (5, 'Newsletter');

INSERT INTO `tblstaff` (`staffid`, `email`, `firstname`, `lastname`, `phonenumber`, `password`, `datecreated`, `last_ip`, `last_login`, `last_activity`, `admin`, `role`, `active`, `hourly_rate`) VALUES
  (1, 'dora@vendor.example', 'Dora', 'Lentz', '+49 30 555 0100', 'must-never-be-read', '2025-01-07 09:00:00', 'must-never-be-read', '{now-2h}', '{now-1h}', 1, NULL, 1, '80.00'),
  (3, 'nikos@vendor.example', 'Nikos', 'Pappas', '+30 210 555 0100', 'must-never-be-read', '2025-02-10 08:00:00', 'must-never-be-read', '{now-24h}', '{now-23h}', 0, 1, 1, '60.00'),
  (5, 'maria@vendor.example', 'Maria', 'Sena', NULL, 'must-never-be-read', '2025-06-02 08:00:00', NULL, NULL, NULL, 0, 1, 1, '55.00');
INSERT INTO `tblstaff_permissions` (`staff_id`, `feature`, `capability`) VALUES (3, 'invoices', 'view'), (5, 'tasks', 'view');

INSERT INTO `tblclients` (`userid`, `company`, `vat`, `phonenumber`, `country`, `city`, `zip`, `state`, `address`, `website`, `datecreated`, `leadid`, `default_language`, `default_currency`, `stripe_id`, `addedfrom`) VALUES
  (42, 'Harbour Logistics Ltd', 'EL801234567', '+30 210 555 0142', 85, 'Piraeus', '18535', 'Attica', '14 Akti Miaouli', 'https://harbour-logistics.example', '2026-04-12 09:31:07', NULL, 'english', 2, 'must-never-be-read', 1),
  (43, 'Aegean Tools SA', NULL, '+30 210 555 0143', 85, 'Athens', '10552', 'Attica', '3 Ermou', NULL, '2026-03-01 10:00:00', NULL, 'english', 2, NULL, 1);
INSERT INTO `tblcustomer_groups` (`id`, `groupid`, `customer_id`) VALUES (1, 2, 42);
INSERT INTO `tblcontacts` (`id`, `userid`, `is_primary`, `firstname`, `lastname`, `email`, `phonenumber`, `title`, `datecreated`, `password`, `email_verified_at`, `last_ip`, `last_login`) VALUES
  (77, 42, 1, 'Eleni', 'Markou', 'eleni@harbour-logistics.example', '+30 694 555 0177', 'Finance Manager', '2026-04-12 09:32:40', 'must-never-be-read', '2026-04-12 10:05:12', 'must-never-be-read', '{now-24h}'),
  (78, 42, 0, 'Petros', 'Galanis', 'petros@harbour-logistics.example', '', NULL, '2026-05-02 12:00:00', 'must-never-be-read', NULL, NULL, NULL);
INSERT INTO `tblnotes` (`id`, `rel_id`, `rel_type`, `description`, `date_contacted`, `addedfrom`, `dateadded`) VALUES (911, 42, 'customer', 'Prefers invoices by mail.', NULL, 3, '2026-04-20 13:15:00');

INSERT INTO `tblleads` (`id`, `hash`, `name`, `title`, `company`, `description`, `country`, `city`, `assigned`, `dateadded`, `status`, `source`, `addedfrom`, `email`, `phonenumber`, `lead_value`) VALUES
  (311, 'must-never-be-read', 'Ioanna Vale', 'Owner', 'Vale Ceramics', 'Wants a quote for two kilns.', 85, 'Volos', 0, '2026-04-02 15:04:11', 2, 1, 1, 'ioanna@vale-ceramics.example', '+30 694 555 0211', '7500.00'),
  (312, 'must-never-be-read', 'Tom Arden', NULL, 'Arden Yachts', NULL, 85, 'Lavrio', 3, '2026-04-03 11:00:00', 2, 2, 1, 'tom@arden-yachts.example', NULL, '900.00'),
  (313, 'must-never-be-read', 'xx yy', NULL, NULL, 'buy now', 0, NULL, 0, '2026-04-04 03:12:00', 2, 2, 0, 'xx@spam.example', NULL, NULL),
  (314, 'must-never-be-read', 'Olga Brandt', NULL, 'Brandt Optik', NULL, 81, 'Kiel', 0, '2026-04-05 10:00:00', 3, 1, 1, 'olga@brandt-optik.example', NULL, '2000.00');

INSERT INTO `tblinvoices` (`id`, `clientid`, `number`, `prefix`, `number_format`, `formatted_number`, `datecreated`, `date`, `duedate`, `currency`, `subtotal`, `total_tax`, `total`, `adjustment`, `addedfrom`, `hash`, `status`, `adminnote`, `allowed_payment_modes`, `discount_type`, `sale_agent`, `billing_city`, `recurring`, `cycles`) VALUES
  (97, 42, 97, 'INV-', 1, 'INV-000097', '2026-03-01 08:00:00', '2026-03-01', '{today+60}', 2, '400.00', '96.00', '496.00', '0.00', 1, 'must-never-be-read', 6, NULL, 'a:1:{i:0;s:1:"1";}', '', 3, 'Piraeus', 1, 12),
  (128, 42, 128, 'INV-', 1, 'INV-000128', '2026-04-20 08:01:22', '2026-04-20', '{today+10}', 2, '400.00', '96.00', '496.00', '0.00', 1, 'must-never-be-read', 1, '', 'a:1:{i:0;s:1:"1";}', '', 3, 'Piraeus', 0, 0),
  (129, 42, 129, 'INV-', 1, 'INV-000129', '2026-04-21 08:01:22', '2026-04-21', '{today+10}', 2, '100.00', '24.00', '124.00', '0.00', 1, 'must-never-be-read', 1, NULL, NULL, '', 3, 'Piraeus', 0, 0),
  (130, 43, 130, 'INV-', 1, 'INV-000130', '2026-04-22 08:01:22', '2026-04-22', '{today-1}', 2, '100.00', '24.00', '124.00', '0.00', 1, 'must-never-be-read', 1, NULL, NULL, '', 3, 'Athens', 0, 0),
  (131, 43, 131, 'INV-', 1, 'INV-000131', '2026-04-23 08:01:22', '2026-04-23', '{today+2}', 2, '200.00', '48.00', '248.00', '0.00', 1, 'must-never-be-read', 1, NULL, NULL, '', 3, 'Athens', 0, 0),
  (132, 43, 1000000000, 'INV-', 1, NULL, '2026-04-24 08:01:22', '2026-04-24', NULL, 2, '50.00', '0.00', '50.00', '0.00', 1, 'must-never-be-read', 6, NULL, NULL, '', 0, 'Athens', 0, 0),
  (133, 43, 133, 'INV-', 1, 'INV-000133', '2026-02-01 08:01:22', '2026-02-01', '{today-90}', 2, '10.00', '0.00', '10.00', '0.00', 1, 'must-never-be-read', 4, NULL, NULL, '', 0, 'Athens', 0, 0);
INSERT INTO `tblitemable` (`id`, `rel_id`, `rel_type`, `description`, `long_description`, `qty`, `rate`, `unit`, `item_order`) VALUES
  (901, 128, 'invoice', 'Barcode scanner', 'Handheld 2D scanner', '2.00', '180.00', 'pcs', 1),
  (902, 128, 'invoice', 'Charging cradle', '', '2.00', '20.00', 'pcs', 2),
  (903, 132, 'invoice', 'Cable', '', '5.00', '10.00', 'pcs', 1),
  (904, 61, 'estimate', 'Barcode scanner', 'Handheld 2D scanner', '2.00', '180.00', 'pcs', 1),
  (905, 35, 'proposal', 'Rollout', 'Planning and two days on site', '1.00', '2000.00', '', 1),
  (906, 14, 'credit_note', 'Barcode scanner, returned', '', '1.00', '100.00', 'pcs', 1);
INSERT INTO `tblitem_tax` (`id`, `itemid`, `rel_id`, `rel_type`, `taxrate`, `taxname`) VALUES
  (1, 901, 128, 'invoice', '24.00', 'VAT'), (2, 902, 128, 'invoice', '24.00', 'VAT'), (3, 904, 61, 'estimate', '24.00', 'VAT');
INSERT INTO `tblinvoicepaymentrecords` (`id`, `invoiceid`, `amount`, `paymentmode`, `paymentmethod`, `date`, `daterecorded`, `note`, `transactionid`) VALUES
  (500, 129, '24.00', '1', NULL, '2026-04-25', '2026-04-25 09:00:00', '', 'BANK-20260425-1'),
  (501, 129, '10.00', '1', NULL, '2026-04-26', '2026-04-26 09:00:00', '', 'BANK-20260426-4');
INSERT INTO `tblpayment_attempts` (`id`, `reference`, `invoice_id`, `amount`, `fee`, `payment_gateway`, `created_at`) VALUES
  (6, '5a0c91', 129, 90, 0, 'stripe', '{now-48h}');
INSERT INTO `tblviews_tracking` (`id`, `rel_id`, `rel_type`, `date`, `view_ip`) VALUES (1, 128, 'invoice', '2026-04-21 10:00:00', 'must-never-be-read');

INSERT INTO `tblestimates` (`id`, `clientid`, `number`, `prefix`, `number_format`, `formatted_number`, `hash`, `datecreated`, `date`, `expirydate`, `currency`, `subtotal`, `total_tax`, `total`, `addedfrom`, `status`, `discount_type`, `sale_agent`, `sent`, `datesend`, `acceptance_ip`, `signature`) VALUES
  (61, 42, 61, 'EST-', 1, 'EST-000061', 'must-never-be-read', '2026-04-14 09:55:10', '2026-04-14', '{today+20}', 2, '360.00', '86.40', '446.40', 1, 1, '', 3, 0, NULL, NULL, NULL),
  (62, 42, 62, 'EST-', 1, 'EST-000062', 'must-never-be-read', '2026-04-15 09:55:10', '2026-04-15', '{today+20}', 2, '100.00', '24.00', '124.00', 1, 2, '', 3, 1, '2026-04-15 10:00:00', NULL, NULL),
  (63, 43, 63, 'EST-', 1, 'EST-000063', 'must-never-be-read', '2026-04-16 09:55:10', '2026-04-16', '{today+20}', 2, '100.00', '24.00', '124.00', 1, 2, '', 3, 1, '2026-04-16 10:00:00', NULL, NULL),
  (64, 43, 64, 'EST-', 1, 'EST-000064', 'must-never-be-read', '2026-04-17 09:55:10', '2026-04-17', '{today+2}', 2, '100.00', '24.00', '124.00', 1, 2, '', 3, 1, '2026-04-17 10:00:00', NULL, NULL);
INSERT INTO `tblproposals` (`id`, `subject`, `addedfrom`, `datecreated`, `total`, `subtotal`, `total_tax`, `discount_percent`, `discount_total`, `currency`, `open_till`, `date`, `rel_id`, `rel_type`, `assigned`, `hash`, `proposal_to`, `email`, `status`) VALUES
  (35, 'Warehouse scanner rollout', 1, '2026-04-08 12:00:00', '2400.00', '2000.00', '400.00', '0.00', '0.00', 2, '{today+14}', '2026-04-08', 311, 'lead', 3, 'must-never-be-read', 'Ioanna Vale', 'ioanna@vale-ceramics.example', 6),
  (36, 'Support retainer', 1, '2026-04-09 12:00:00', '1200.00', '1000.00', '200.00', '0.00', '0.00', 2, '{today+14}', '2026-04-09', 42, 'customer', 3, 'must-never-be-read', 'Eleni Markou', 'eleni@harbour-logistics.example', 4);
INSERT INTO `tblproposal_comments` (`id`, `content`, `proposalid`, `staffid`, `dateadded`) VALUES (57, 'Please call first.', 36, 0, '2026-04-09 10:11:12');
INSERT INTO `tblcreditnotes` (`id`, `clientid`, `number`, `prefix`, `formatted_number`, `datecreated`, `date`, `currency`, `subtotal`, `total_tax`, `total`, `addedfrom`, `status`, `discount_type`, `reference_no`) VALUES
  (14, 42, 14, 'CN-', 'CN-000014', '2026-05-06 14:10:00', '2026-05-06', 2, '100.00', '20.00', '120.00', 1, 1, '', 'RMA-88');
INSERT INTO `tblsubscriptions` (`id`, `name`, `description`, `clientid`, `date`, `currency`, `stripe_plan_id`, `stripe_subscription_id`, `status`, `quantity`, `hash`, `created`, `created_from`) VALUES
  (8, 'Managed backup', 'Nightly, kept for a month', 42, '2026-05-01', 2, 'must-never-be-read', 'must-never-be-read', NULL, 1, 'must-never-be-read', '2026-04-28 10:00:00', 1);
INSERT INTO `tblexpenses` (`id`, `category`, `currency`, `amount`, `tax`, `reference_no`, `note`, `expense_name`, `clientid`, `project_id`, `billable`, `paymentmode`, `date`, `recurring`, `repeat_every`, `recurring_type`, `send_invoice_to_customer`, `dateadded`, `addedfrom`) VALUES
  (180, 2, 2, '30.00', 1, NULL, '', 'Hosting', 0, 0, 0, '1', '2026-03-18', 1, 1, 'month', 0, '2026-03-18 17:20:31', 3),
  (204, 2, 2, '149.90', 1, 'DHL-5521', '', 'Courier April', 42, 9, 1, '1', '2026-04-18', 0, NULL, NULL, 0, '2026-04-18 17:20:31', 3);
INSERT INTO `tblitems` (`id`, `description`, `long_description`, `rate`, `tax`, `unit`, `group_id`) VALUES (12, 'Barcode scanner', 'Handheld 2D scanner', '180.00', 1, 'pcs', 1), (13, 'Charging cradle', NULL, '20.00', 1, 'pcs', 1);

INSERT INTO `tblcontracts` (`id`, `content`, `description`, `subject`, `client`, `datestart`, `dateend`, `contract_type`, `project_id`, `addedfrom`, `dateadded`, `contract_value`, `hash`) VALUES
  (19, '<p>Support within four hours on working days, by phone, mail and on site, for the sites named in the annex, at the price below.</p>', '', 'Support retainer 2026', 42, '2026-01-01', '{today+30}', 1, 9, 1, '2025-12-18 16:30:00', '6000.00', 'must-never-be-read'),
  (20, '', '', 'Hosting', 43, '2026-01-01', '{today+30}', 1, 0, 1, '2025-12-18 16:31:00', '600.00', 'must-never-be-read'),
  (21, '', '', 'Cleaning', 43, '2025-01-01', '{today-40}', 1, 0, 1, '2024-12-18 16:31:00', '900.00', 'must-never-be-read');
INSERT INTO `tblprojects` (`id`, `name`, `description`, `status`, `clientid`, `billing_type`, `start_date`, `deadline`, `project_created`, `progress`, `project_cost`, `addedfrom`) VALUES
  (9, 'Scanner rollout', 'Two gates, then the yard', 1, 42, 1, '2026-04-15', '2026-06-30', '2026-04-15', 35, '2000.00', 1),
  (10, 'Website', NULL, 2, 43, 2, '2026-03-15', NULL, '2026-03-15', 0, NULL, 1);
INSERT INTO `tblmilestones` (`id`, `name`, `description`, `due_date`, `project_id`, `milestone_order`, `datecreated`) VALUES (3, 'Preparation', NULL, '{today+5}', 9, 1, '2026-04-15');
INSERT INTO `tblproject_members` (`id`, `project_id`, `staff_id`) VALUES (16, 9, 1);
INSERT INTO `tbltasks` (`id`, `name`, `description`, `priority`, `dateadded`, `startdate`, `duedate`, `addedfrom`, `status`, `rel_id`, `rel_type`, `hourly_rate`, `milestone`) VALUES
  (869, 'Order cables', NULL, 2, '2026-04-15 09:00:00', '2026-04-15', '{today-30}', 1, 4, 9, 'project', '60.00', 0),
  (870, 'Configure scanners', 'All of gate 1', 2, '2026-04-16 09:00:00', '2026-04-17', '{today+9}', 1, 1, 9, 'project', '60.00', 3),
  (871, 'Hang up the antennas', NULL, 2, '2026-04-16 09:01:00', '2026-04-17', NULL, 1, 4, 9, 'project', '60.00', 3),
  (872, 'Tidy the store', NULL, 1, '2026-04-16 09:02:00', '2026-04-17', '{today+9}', 1, 1, NULL, NULL, '0.00', 0);
INSERT INTO `tbltask_assigned` (`id`, `staffid`, `taskid`, `assigned_from`) VALUES (1309, 1, 870, 1);
INSERT INTO `tbltask_checklist_items` (`id`, `taskid`, `description`, `finished`, `dateadded`, `addedfrom`, `list_order`) VALUES (3320, 870, 'Test one scan at each gate', 0, '2026-04-16 09:05:00', 1, 1);
INSERT INTO `tbltaskstimers` (`id`, `task_id`, `start_time`, `end_time`, `staff_id`, `hourly_rate`, `note`) VALUES (2209, 870, '1776754800', '1776762000', 3, '60.00', 'On-site setup');

INSERT INTO `tbltickets` (`ticketid`, `userid`, `contactid`, `email`, `name`, `department`, `priority`, `status`, `service`, `ticketkey`, `subject`, `message`, `date`, `project_id`, `assigned`) VALUES
  (638, 42, 77, NULL, NULL, 1, 2, 1, 1, 'must-never-be-read', 'Scanner 2 offline', 'It does not connect.', '2026-05-03 07:58:12', 9, 0),
  (640, 42, 77, NULL, NULL, 1, 2, 1, 1, 'must-never-be-read', 'Scanner 3 offline', 'Scanner 3 does not connect since this morning.', '2026-05-04 07:58:12', 9, 0);
INSERT INTO `tblticket_replies` (`id`, `ticketid`, `userid`, `contactid`, `date`, `message`, `admin`) VALUES (1501, 638, 42, 77, '2026-05-03 09:00:00', 'Still the same.', NULL);

INSERT INTO `tblcustomfields` (`id`, `fieldto`, `name`, `slug`, `type`) VALUES
  (1, 'leads', 'Budget', 'leads_budget', 'input'), (2, 'leads', 'Region', 'leads_region', 'select'), (3, 'invoice', 'Cost centre', 'invoice_cost_centre', 'input');
INSERT INTO `tblcustomfieldsvalues` (`id`, `relid`, `fieldid`, `fieldto`, `value`) VALUES (1, 311, 1, 'leads', '1000'), (2, 128, 3, 'invoice', 'CC-7');
