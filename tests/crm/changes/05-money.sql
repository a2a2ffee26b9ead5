-- step: A credit note is written
-- expect: credit_note.created#15
INSERT INTO `tblcreditnotes` (`id`, `clientid`, `number`, `prefix`, `datecreated`, `date`, `currency`, `subtotal`, `total`, `addedfrom`, `status`, `discount_type`) VALUES (15, 42, 15, 'CN-', '{now}', '{today}', 2, '10.00', '10.00', 1, 1, '');
INSERT INTO `tblitemable` (`id`, `rel_id`, `rel_type`, `description`, `qty`, `rate`, `item_order`) VALUES (912, 15, 'credit_note', 'Goodwill', '1.00', '10.00', 1);

-- step: A credit note has another reference
-- expect: credit_note.updated#14
UPDATE `tblcreditnotes` SET `reference_no` = 'RMA-88b' WHERE `id` = 14;

-- step: Part of a credit is set off against an invoice
-- expect: credit_note.credits_applied#14
INSERT INTO `tblcredits` (`id`, `invoice_id`, `credit_id`, `staff_id`, `date`, `date_applied`, `amount`) VALUES (11, 134, 14, 1, '{today}', '{now}', '20.00');

-- step: The rest of a credit is paid out, which closes it
-- expect: credit_note.refund_created#14
-- expect: payment.refunded#5
-- expect: credit_note.status_changed#14
-- expect: credit_note.updated#14
INSERT INTO `tblcreditnote_refunds` (`id`, `credit_note_id`, `staff_id`, `refunded_on`, `payment_mode`, `note`, `amount`, `created_at`) VALUES (5, 14, 1, '{today}', '1', 'By bank transfer.', '100.00', '{now}');
UPDATE `tblcreditnotes` SET `status` = 2 WHERE `id` = 14;

-- step: A payout is taken back out of the books
-- expect: credit_note.refund_deleted#14
-- expect: credit_note.status_changed#14
-- expect: credit_note.updated#14
DELETE FROM `tblcreditnote_refunds` WHERE `id` = 5;
UPDATE `tblcreditnotes` SET `status` = 1 WHERE `id` = 14;

-- step: A credit note is removed
-- expect: credit_note.deleted#15
DELETE FROM `tblitemable` WHERE `rel_id` = 15 AND `rel_type` = 'credit_note';
DELETE FROM `tblcreditnotes` WHERE `id` = 15;

-- step: A subscription is set up
-- expect: subscription.created#9
INSERT INTO `tblsubscriptions` (`id`, `name`, `clientid`, `date`, `currency`, `stripe_plan_id`, `stripe_subscription_id`, `quantity`, `hash`, `created`, `created_from`) VALUES (9, 'Monitoring', 43, '{today}', 2, 'must-never-be-read', 'must-never-be-read', 1, 'must-never-be-read', '{now}', 1);

-- step: A subscription is for two
-- expect: subscription.updated#8
UPDATE `tblsubscriptions` SET `quantity` = 2 WHERE `id` = 8;

-- step: The customer subscribes
-- expect: subscription.activated#8
-- expect: subscription.updated#8
UPDATE `tblsubscriptions` SET `status` = 'active', `date_subscribed` = '{now}', `next_billing_cycle` = 1780272000, `stripe_subscription_id` = 'must-never-be-read either' WHERE `id` = 8;

-- step: A renewal cannot be collected
-- expect: subscription.past_due#8
-- expect: subscription.updated#8
UPDATE `tblsubscriptions` SET `status` = 'past_due' WHERE `id` = 8;

-- step: A subscription ends
-- expect: subscription.cancelled#8
-- expect: subscription.updated#8
UPDATE `tblsubscriptions` SET `status` = 'canceled', `ends_at` = 1780272000 WHERE `id` = 8;

-- step: A subscription is removed
-- expect: subscription.deleted#9
DELETE FROM `tblsubscriptions` WHERE `id` = 9;

-- step: An expense is entered
-- expect: expense.created#205
INSERT INTO `tblexpenses` (`id`, `category`, `currency`, `amount`, `expense_name`, `clientid`, `date`, `send_invoice_to_customer`, `dateadded`, `addedfrom`) VALUES (205, 2, 2, '12.00', 'Parking', 0, '{today}', 0, '{now}', 3);

-- step: An expense has a note
-- expect: expense.updated#205
UPDATE `tblexpenses` SET `note` = 'Receipt follows by post.' WHERE `id` = 205;

-- step: A billable expense is put on an invoice
-- expect: invoice.created#138
-- expect: expense.converted#204
-- expect: expense.updated#204
INSERT INTO `tblinvoices` (`id`, `clientid`, `number`, `prefix`, `datecreated`, `date`, `duedate`, `currency`, `subtotal`, `total`, `hash`, `status`, `discount_type`) VALUES (138, 42, 138, 'INV-', '{now}', '{today}', '{today+30}', 2, '149.90', '149.90', 'must-never-be-read', 1, '');
UPDATE `tblexpenses` SET `invoiceid` = 138 WHERE `id` = 204;

-- step: A repeating expense brings forth its next copy
-- expect: expense.created#206
-- expect: expense.recurring_created#206
-- expect: expense.updated#180
INSERT INTO `tblexpenses` (`id`, `category`, `currency`, `amount`, `expense_name`, `clientid`, `date`, `send_invoice_to_customer`, `dateadded`, `addedfrom`, `recurring_from`) VALUES (206, 2, 2, '30.00', 'Hosting', 0, '{today}', 0, '{now}', 3, 180);
UPDATE `tblexpenses` SET `last_recurring_date` = '{today}', `total_cycles` = 1 WHERE `id` = 180;

-- step: An expense is removed
-- expect: expense.deleted#205
DELETE FROM `tblexpenses` WHERE `id` = 205;

-- step: An item is added to the price list
-- expect: item.created#14
INSERT INTO `tblitems` (`id`, `description`, `rate`, `unit`) VALUES (14, 'Holster', '15.00', 'pcs');

-- step: An item has another price
-- expect: item.updated#12
UPDATE `tblitems` SET `rate` = '189.00' WHERE `id` = 12;

-- step: An item has another price in another currency
-- expect: item.updated#12
UPDATE `tblitems` SET `rate_currency_1` = '205.00' WHERE `id` = 12;

-- step: An item leaves the price list
-- expect: item.deleted#13
DELETE FROM `tblitems` WHERE `id` = 13;
