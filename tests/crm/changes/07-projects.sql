-- step: A project is set up with a member
-- expect: project.created#11
-- expect: project.member_added#11
INSERT INTO `tblprojects` (`id`, `name`, `status`, `clientid`, `billing_type`, `start_date`, `project_created`, `addedfrom`) VALUES (11, 'Yard cameras', 1, 42, 1, '{today}', '{today}', 1);
INSERT INTO `tblproject_members` (`id`, `project_id`, `staff_id`) VALUES (18, 11, 1);

-- step: A project ends later
-- expect: project.updated#9
UPDATE `tblprojects` SET `deadline` = '2026-07-15' WHERE `id` = 9;

-- step: A project makes progress
UPDATE `tblprojects` SET `progress` = 40 WHERE `id` = 9;

-- step: A project begins
-- expect: project.status_changed#9
-- expect: project.updated#9
UPDATE `tblprojects` SET `status` = 2 WHERE `id` = 9;

-- step: A staff member joins a project
-- expect: project.member_added#9
INSERT INTO `tblproject_members` (`id`, `project_id`, `staff_id`) VALUES (17, 9, 3);

-- step: A project gets a milestone
-- expect: project.milestone_added#9
INSERT INTO `tblmilestones` (`id`, `name`, `description`, `start_date`, `due_date`, `project_id`, `color`, `milestone_order`, `datecreated`) VALUES (4, 'Pilot at gate 1', 'Five scanners in daily use', '{today}', '{today+30}', 9, '#2d79c7', 2, '{today}');

-- step: A milestone is moved on the board
UPDATE `tblmilestones` SET `milestone_order` = 3 WHERE `id` = 4;

-- step: A task is entered with somebody to do it
-- expect: task.created#873
-- expect: task.assigned#873
INSERT INTO `tbltasks` (`id`, `name`, `priority`, `dateadded`, `startdate`, `addedfrom`, `status`, `rel_id`, `rel_type`) VALUES (873, 'Call the electrician', 2, '{now}', '{today}', 1, 1, 9, 'project');
INSERT INTO `tbltask_assigned` (`id`, `staffid`, `taskid`, `assigned_from`) VALUES (1311, 3, 873, 1);

-- step: A task is due later
-- expect: task.updated#870
UPDATE `tbltasks` SET `duedate` = '{today+12}' WHERE `id` = 870;

-- step: A task is moved on the board
UPDATE `tbltasks` SET `kanban_order` = 7, `milestone_order` = 2 WHERE `id` = 870;

-- step: A staff member is put on a task
-- expect: task.assigned#870
INSERT INTO `tbltask_assigned` (`id`, `staffid`, `taskid`, `assigned_from`) VALUES (1310, 3, 870, 1);

-- step: A staff member follows a task
-- expect: task.follower_added#870
INSERT INTO `tbltask_followers` (`id`, `staffid`, `taskid`) VALUES (402, 5, 870);

-- step: Somebody comments on a task
-- expect: task.comment_added#870
INSERT INTO `tbltask_comments` (`id`, `content`, `taskid`, `staffid`, `dateadded`) VALUES (2051, 'Station 7 needs a new antenna.', 870, 3, '{now}');

-- step: A line of a checklist is added
INSERT INTO `tbltask_checklist_items` (`id`, `taskid`, `description`, `dateadded`, `addedfrom`, `list_order`) VALUES (3321, 870, 'Label the stations', '{now}', 1, 2);

-- step: A line of a checklist is ticked off
-- expect: task.checklist_item_completed#870
UPDATE `tbltask_checklist_items` SET `finished` = 1, `finished_from` = 3 WHERE `id` = 3320;

-- step: A task is more urgent
-- expect: task.priority_changed#870
-- expect: task.updated#870
UPDATE `tbltasks` SET `priority` = 4 WHERE `id` = 870;

-- step: A task is begun
-- expect: task.status_changed#870
-- expect: task.updated#870
UPDATE `tbltasks` SET `status` = 4 WHERE `id` = 870;

-- step: The due date of an open task goes by
-- expect: task.overdue#872
-- expect: task.updated#872
UPDATE `tbltasks` SET `duedate` = '{today-1}' WHERE `id` = 872;

-- step: The CRM reminds of it
-- expect: task.updated#872
UPDATE `tbltasks` SET `deadline_notified` = 1 WHERE `id` = 872;

-- step: A timer is started
-- expect: timesheet.created#2210
-- expect: task.timesheet_added#870
-- expect: timesheet.timer_started#2210
INSERT INTO `tbltaskstimers` (`id`, `task_id`, `start_time`, `end_time`, `staff_id`, `hourly_rate`) VALUES (2210, 870, '1776754800', NULL, 3, '60.00');

-- step: A timer is stopped
-- expect: timesheet.timer_stopped#2210
-- expect: timesheet.updated#2210
UPDATE `tbltaskstimers` SET `end_time` = '1776762000' WHERE `id` = 2210;

-- step: Time that belongs to no task is logged by hand
-- expect: timesheet.created#2211
INSERT INTO `tbltaskstimers` (`id`, `task_id`, `start_time`, `end_time`, `staff_id`, `note`) VALUES (2211, 0, '1776754800', '1776758400', 5, 'Meeting');

-- step: A logged span is corrected
-- expect: timesheet.updated#2211
UPDATE `tbltaskstimers` SET `end_time` = '1776760000' WHERE `id` = 2211;

-- step: A logged span is removed
-- expect: timesheet.deleted#2211
DELETE FROM `tbltaskstimers` WHERE `id` = 2211;

-- step: The first of two tasks of a milestone is done
-- expect: task.completed#871
-- expect: task.status_changed#871
-- expect: task.updated#871
UPDATE `tbltasks` SET `status` = 5, `datefinished` = '{now-1h}' WHERE `id` = 871;

-- step: The last task of a milestone is done
-- expect: task.completed#870
-- expect: task.status_changed#870
-- expect: task.updated#870
-- expect: project.milestone_completed#9
UPDATE `tbltasks` SET `status` = 5, `datefinished` = '{now}' WHERE `id` = 870;

-- step: A task of a complete milestone has another text
-- expect: task.updated#870
UPDATE `tbltasks` SET `description` = 'All of gate 1, and the spare ones' WHERE `id` = 870;

-- step: A task has an empty text where it had none, which an upgrade of the CRM does to all rows
UPDATE `tbltasks` SET `description` = '' WHERE `id` = 871;

-- step: A task is removed
-- expect: task.deleted#873
DELETE FROM `tbltask_assigned` WHERE `taskid` = 873;
DELETE FROM `tbltasks` WHERE `id` = 873;

-- step: A project is done
-- expect: project.finished#9
-- expect: project.completed#9
-- expect: project.status_changed#9
-- expect: project.updated#9
UPDATE `tblprojects` SET `status` = 4, `date_finished` = '{now}', `progress` = 100 WHERE `id` = 9;

-- step: A project is removed with its members
-- expect: project.deleted#11
DELETE FROM `tblproject_members` WHERE `project_id` = 11;
DELETE FROM `tblprojects` WHERE `id` = 11;
