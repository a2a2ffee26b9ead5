-- step: An invoice is written, with lines and taxes
-- expect: invoice.created#134
INSERT INTO `tblinvoices` (`id`, `clientid`, `number`, `prefix`, `number_format`, `formatted_number`, `datecreated`, `date`, `duedate`, `currency`, `subtotal`, `total_tax`, `total`, `adjustment`, `addedfrom`, `hash`, `status`, `discount_type`, `sale_agent`) VALUES (134, 42, 134, 'INV-', 1, 'INV-000134', '{now}', '{today}', '{today+30}', 2, '60.00', '14.40', '74.40', '0.00', 1, 'must-never-be-read', 1, '', 3);
INSERT INTO `tblitemable` (`id`, `rel_id`, `rel_type`, `description`, `long_description`, `qty`, `rate`, `unit`, `item_order`) VALUES (910, 134, 'invoice', 'Delivery', '', '1.00', '60.00', '', 1);
INSERT INTO `tblitem_tax` (`id`, `itemid`, `rel_id`, `rel_type`, `taxrate`, `taxname`) VALUES (10, 910, 134, 'invoice', '24.00', 'VAT');

-- step: An invoice is due later
-- expect: invoice.updated#128
UPDATE `tblinvoices` SET `duedate` = '{today+25}' WHERE `id` = 128;

-- step: A line of an invoice has another text
-- expect: invoice.updated#128
UPDATE `tblitemable` SET `long_description` = 'Handheld 2D scanner, with strap' WHERE `id` = 901;

-- step: An invoice is saved as it is; its taxes are written anew
DELETE FROM `tblitem_tax` WHERE `rel_id` = 128 AND `rel_type` = 'invoice';
INSERT INTO `tblitem_tax` (`id`, `itemid`, `rel_id`, `rel_type`, `taxrate`, `taxname`) VALUES (12, 902, 128, 'invoice', '24.00', 'VAT'), (13, 901, 128, 'invoice', '24.00', 'VAT');

-- step: A line of an invoice has another tax
-- expect: invoice.updated#128
UPDATE `tblitem_tax` SET `taxname` = 'VAT reduced', `taxrate` = '13.00' WHERE `id` = 12;

-- step: A custom field of an invoice has another value
-- expect: invoice.updated#128
UPDATE `tblcustomfieldsvalues` SET `value` = 'CC-8' WHERE `id` = 2;

-- step: An invoice goes out by mail
-- expect: invoice.sent#128
-- expect: invoice.updated#128
UPDATE `tblinvoices` SET `sent` = 1, `datesend` = '{now-2h}' WHERE `id` = 128;

-- step: An invoice goes out once more
-- expect: invoice.sent#128
-- expect: invoice.updated#128
UPDATE `tblinvoices` SET `datesend` = '{now}' WHERE `id` = 128;

-- step: The customer opens an invoice
-- expect: invoice.viewed#128
INSERT INTO `tblviews_tracking` (`id`, `rel_id`, `rel_type`, `date`, `view_ip`) VALUES (2, 128, 'invoice', '{now}', 'must-never-be-read');

-- step: The customer is reminded before an invoice is due
-- expect: invoice.reminder_sent#128
-- expect: invoice.updated#128
UPDATE `tblinvoices` SET `last_due_reminder` = '{today}' WHERE `id` = 128;

-- step: The CRM finds an invoice overdue
-- expect: invoice.overdue#130
-- expect: invoice.status_changed#130
-- expect: invoice.updated#130
UPDATE `tblinvoices` SET `status` = 4 WHERE `id` = 130;

-- step: The customer is reminded of an overdue invoice
-- expect: invoice.reminder_sent#130
-- expect: invoice.updated#130
UPDATE `tblinvoices` SET `last_overdue_reminder` = '{today}' WHERE `id` = 130;

-- step: The due date of an open invoice goes by, and the CRM does not notice
-- expect: invoice.overdue#131
-- expect: invoice.updated#131
UPDATE `tblinvoices` SET `duedate` = '{today-1}' WHERE `id` = 131;

-- step: The CRM notices at last
-- expect: invoice.status_changed#131
-- expect: invoice.updated#131
UPDATE `tblinvoices` SET `status` = 4 WHERE `id` = 131;

-- step: Part of an invoice is paid
-- expect: payment.created#502
-- expect: payment.received#502
-- expect: invoice.payment_added#128
-- expect: invoice.partially_paid#128
-- expect: invoice.status_changed#128
-- expect: invoice.updated#128
INSERT INTO `tblinvoicepaymentrecords` (`id`, `invoiceid`, `amount`, `paymentmode`, `date`, `daterecorded`, `note`, `transactionid`) VALUES (502, 128, '96.00', '1', '{today}', '{now}', '', 'BANK-1');
UPDATE `tblinvoices` SET `status` = 3 WHERE `id` = 128;

-- step: The rest is paid
-- expect: payment.created#503
-- expect: payment.received#503
-- expect: invoice.payment_added#128
-- expect: invoice.paid#128
-- expect: invoice.status_changed#128
-- expect: invoice.updated#128
INSERT INTO `tblinvoicepaymentrecords` (`id`, `invoiceid`, `amount`, `paymentmode`, `date`, `daterecorded`, `note`, `transactionid`) VALUES (503, 128, '400.00', '1', '{today}', '{now}', '', 'BANK-2');
UPDATE `tblinvoices` SET `status` = 2 WHERE `id` = 128;

-- step: An invoice is written and paid before anybody looks
-- expect: invoice.created#135
-- expect: invoice.paid#135
-- expect: payment.created#504
-- expect: payment.received#504
-- expect: invoice.payment_added#135
INSERT INTO `tblinvoices` (`id`, `clientid`, `number`, `prefix`, `datecreated`, `date`, `duedate`, `currency`, `subtotal`, `total`, `hash`, `status`, `discount_type`) VALUES (135, 43, 135, 'INV-', '{now}', '{today}', '{today+30}', 2, '10.00', '10.00', 'must-never-be-read', 1, '');
INSERT INTO `tblinvoicepaymentrecords` (`id`, `invoiceid`, `amount`, `paymentmode`, `date`, `daterecorded`) VALUES (504, 135, '10.00', '1', '{today}', '{now}');
UPDATE `tblinvoices` SET `status` = 2 WHERE `id` = 135;

-- step: A recorded payment has another note
-- expect: payment.updated#500
UPDATE `tblinvoicepaymentrecords` SET `note` = 'Matched by hand.' WHERE `id` = 500;

-- step: A recorded payment is taken back out
-- expect: payment.deleted#501
DELETE FROM `tblinvoicepaymentrecords` WHERE `id` = 501;

-- step: A gateway pays money back
-- expect: payment.created#505
-- expect: invoice.payment_added#128
-- expect: payment.refunded#505
INSERT INTO `tblinvoicepaymentrecords` (`id`, `invoiceid`, `amount`, `paymentmode`, `paymentmethod`, `date`, `daterecorded`, `note`, `transactionid`) VALUES (505, 128, '-120.00', 'stripe', 'card', '{today}', '{now}', 'One scanner returned.', 're_5521');

-- step: A customer begins to pay online, and no money comes
-- expect: payment.failed#7
INSERT INTO `tblpayment_attempts` (`id`, `reference`, `invoice_id`, `amount`, `fee`, `payment_gateway`, `created_at`) VALUES (7, '9c1f6f7a-4d0e', 134, 74.4, 0, 'stripe', '{now-2h}');

-- step: Another begins to pay online, and the money came
-- expect: payment.created#506
-- expect: payment.received#506
-- expect: invoice.payment_added#134
INSERT INTO `tblpayment_attempts` (`id`, `reference`, `invoice_id`, `amount`, `fee`, `payment_gateway`, `created_at`) VALUES (8, '77ab0921-0001', 134, 4.4, 0, 'paypal', '{now-2h}');
INSERT INTO `tblinvoicepaymentrecords` (`id`, `invoiceid`, `amount`, `paymentmode`, `date`, `daterecorded`) VALUES (506, 134, '4.40', 'paypal', '{today}', '{now-1h}');

-- step: An invoice is cancelled
-- expect: invoice.cancelled#129
-- expect: invoice.status_changed#129
-- expect: invoice.updated#129
UPDATE `tblinvoices` SET `status` = 5 WHERE `id` = 129;

-- step: A cancelled invoice is owed again
-- expect: invoice.uncancelled#129
-- expect: invoice.status_changed#129
-- expect: invoice.updated#129
UPDATE `tblinvoices` SET `status` = 1 WHERE `id` = 129;

-- step: A repeating invoice brings forth its next copy
-- expect: invoice.created#136
-- expect: invoice.recurring_created#136
-- expect: invoice.updated#97
INSERT INTO `tblinvoices` (`id`, `clientid`, `number`, `prefix`, `datecreated`, `date`, `duedate`, `currency`, `subtotal`, `total`, `hash`, `status`, `discount_type`, `is_recurring_from`) VALUES (136, 42, 136, 'INV-', '{now}', '{today}', '{today+30}', 2, '400.00', '400.00', 'must-never-be-read', 1, '', 97);
UPDATE `tblinvoices` SET `last_recurring_date` = '{today}', `total_cycles` = 1 WHERE `id` = 97;

-- step: A draft is removed with its lines
-- expect: invoice.deleted#132
DELETE FROM `tblitemable` WHERE `rel_id` = 132 AND `rel_type` = 'invoice';
DELETE FROM `tblinvoices` WHERE `id` = 132;
