-- step: The customer opens a ticket with a file
-- expect: ticket.created#641
-- expect: ticket.attachment_added#641
INSERT INTO `tbltickets` (`ticketid`, `userid`, `contactid`, `department`, `priority`, `status`, `ticketkey`, `subject`, `message`, `date`) VALUES (641, 42, 77, 1, 2, 1, 'must-never-be-read', 'Invoice unclear', 'Which order is this for?', '{now}');
INSERT INTO `tblticket_attachments` (`id`, `ticketid`, `file_name`, `filetype`, `dateadded`) VALUES (87, 641, 'invoice.pdf', 'application/pdf', '{now}');

-- step: A ticket has another subject
-- expect: ticket.updated#640
UPDATE `tbltickets` SET `subject` = 'Scanner 3 and 4 offline' WHERE `ticketid` = 640;

-- step: The staff reads a ticket and begins to write
UPDATE `tbltickets` SET `adminread` = 1, `adminreplying` = 1, `staff_id_replying` = 3 WHERE `ticketid` = 640;

-- step: A ticket is handed to a staff member
-- expect: ticket.assigned#640
-- expect: ticket.updated#640
UPDATE `tbltickets` SET `assigned` = 3 WHERE `ticketid` = 640;

-- step: A ticket is more urgent
-- expect: ticket.priority_changed#640
-- expect: ticket.updated#640
UPDATE `tbltickets` SET `priority` = 3 WHERE `ticketid` = 640;

-- step: The staff answers
-- expect: ticket.reply_added#640
-- expect: ticket.status_changed#640
-- expect: ticket.updated#640
INSERT INTO `tblticket_replies` (`id`, `ticketid`, `userid`, `contactid`, `date`, `message`, `admin`) VALUES (1502, 640, NULL, 0, '{now}', 'Please hold the power key for ten seconds.', 3);
UPDATE `tbltickets` SET `lastreply` = '{now}', `status` = 3, `adminreplying` = 0, `clientread` = 0 WHERE `ticketid` = 640;

-- step: A file is attached to an answer
-- expect: ticket.attachment_added#640
INSERT INTO `tblticket_attachments` (`id`, `ticketid`, `replyid`, `file_name`, `filetype`, `dateadded`) VALUES (88, 640, 1502, 'scanner-3.jpg', 'image/jpeg', '{now}');

-- step: A ticket is closed
-- expect: ticket.closed#640
-- expect: ticket.status_changed#640
-- expect: ticket.updated#640
UPDATE `tbltickets` SET `status` = 5 WHERE `ticketid` = 640;

-- step: A closed ticket is opened again
-- expect: ticket.reopened#640
-- expect: ticket.status_changed#640
-- expect: ticket.updated#640
UPDATE `tbltickets` SET `status` = 1 WHERE `ticketid` = 640;

-- step: A ticket is taken into another
-- expect: ticket.merged#638
-- expect: ticket.closed#638
-- expect: ticket.status_changed#638
-- expect: ticket.updated#638
UPDATE `tbltickets` SET `merged_ticket_id` = 640, `status` = 5 WHERE `ticketid` = 638;

-- step: A ticket is removed with its conversation
-- expect: ticket.deleted#641
DELETE FROM `tblticket_attachments` WHERE `ticketid` = 641;
DELETE FROM `tbltickets` WHERE `ticketid` = 641;
