-- A thousand changes between two scans: fifty rows, spread over the table, of each of the twenty; new rows where only those
-- mean anything. Round after round others ({round} from 1, below {step}), so that each is a change again.

UPDATE `tblclients` SET `phonenumber` = '+30 210 555 {round}' WHERE `userid` % {step} = {round};
UPDATE `tblcontacts` SET `title` = 'Director {round}' WHERE `id` % {step} = {round};
UPDATE `tblleads` SET `phonenumber` = '+30 694 555 {round}' WHERE `id` % {step} = {round};
UPDATE `tblnotes` SET `description` = 'Changed in round {round}.' WHERE `id` % {step} = {round};
UPDATE `tblitems` SET `rate` = 1000 + {round} WHERE `id` % {step} = {round};
UPDATE `tblproposals` SET `subject` = 'Changed in round {round}' WHERE `id` % {step} = {round};
UPDATE `tblestimates` SET `adminnote` = 'Changed in round {round}' WHERE `id` % {step} = {round};
UPDATE `tblinvoices` SET `adminnote` = 'Changed in round {round}' WHERE `id` % {step} = {round};
UPDATE `tblinvoicepaymentrecords` SET `note` = 'Changed in round {round}' WHERE `id` % {step} = {round};
UPDATE `tblcreditnotes` SET `adminnote` = 'Changed in round {round}' WHERE `id` % {step} = {round};
UPDATE `tblexpenses` SET `note` = 'Changed in round {round}' WHERE `id` % {step} = {round};
UPDATE `tblcontracts` SET `description` = 'Changed in round {round}' WHERE `id` % {step} = {round};
UPDATE `tblprojects` SET `description` = 'Changed in round {round}' WHERE `id` % {step} = {round};
UPDATE `tbltasks` SET `description` = 'Changed in round {round}' WHERE `id` % {step} = {round};
INSERT INTO `tbltask_assigned` (`staffid`, `taskid`, `assigned_from`) SELECT {round}, seq, 1 FROM seq_1_to_50;
INSERT INTO `tbltask_comments` (`content`, `taskid`, `staffid`, `dateadded`) SELECT 'New in round {round}', seq, 1, NOW() FROM seq_1_to_50;
UPDATE `tbltask_checklist_items` SET `finished` = 1 WHERE `finished` = 0 ORDER BY `id` DESC LIMIT 50;
UPDATE `tbltaskstimers` SET `note` = 'Changed in round {round}' WHERE `id` % {step} = {round};
UPDATE `tbltickets` SET `subject` = 'Changed in round {round}' WHERE `ticketid` % {step} = {round};
INSERT INTO `tblticket_replies` (`ticketid`, `userid`, `contactid`, `date`, `message`) SELECT seq, seq, seq, NOW(), 'New in round {round}' FROM seq_1_to_50;
