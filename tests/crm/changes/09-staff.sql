-- step: An account is made, with what it may do
-- expect: staff.created#6
INSERT INTO `tblstaff` (`staffid`, `email`, `firstname`, `lastname`, `password`, `datecreated`, `role`, `hourly_rate`) VALUES (6, 'ben@vendor.example', 'Ben', 'Ortega', 'must-never-be-read', '{now}', 1, '50.00');
INSERT INTO `tblstaff_permissions` (`staff_id`, `feature`, `capability`) VALUES (6, 'tasks', 'view'), (6, 'tasks', 'create');

-- step: A staff member has another phone number
-- expect: staff.updated#3
UPDATE `tblstaff` SET `phonenumber` = '+30 210 555 0111' WHERE `staffid` = 3;

-- step: A staff member signs in
-- expect: staff.login#3
UPDATE `tblstaff` SET `last_login` = '{now}', `last_ip` = 'must-never-be-read either', `last_activity` = '{now}' WHERE `staffid` = 3;

-- step: A staff member clicks about
UPDATE `tblstaff` SET `last_activity` = '{now+1h}' WHERE `staffid` = 3;

-- step: A staff member has another role
-- expect: staff.role_changed#3
-- expect: staff.updated#3
UPDATE `tblstaff` SET `role` = 2 WHERE `staffid` = 3;

-- step: A staff member may do more, which is another role too
-- expect: staff.permissions_changed#3
-- expect: staff.role_changed#3
INSERT INTO `tblstaff_permissions` (`staff_id`, `feature`, `capability`) VALUES (3, 'invoices', 'create');

-- step: A staff member is saved with the permissions it had, which are written anew
DELETE FROM `tblstaff_permissions` WHERE `staff_id` = 3;
INSERT INTO `tblstaff_permissions` (`staff_id`, `feature`, `capability`) VALUES (3, 'invoices', 'create'), (3, 'invoices', 'view');

-- step: A staff member has a new password
-- expect: staff.password_changed#3
-- expect: staff.updated#3
UPDATE `tblstaff` SET `password` = 'must-never-be-read either', `last_password_change` = '{now}' WHERE `staffid` = 3;

-- step: A staff member may no longer sign in
-- expect: staff.deactivated#5
-- expect: staff.updated#5
UPDATE `tblstaff` SET `active` = 0 WHERE `staffid` = 5;

-- step: A staff member may sign in again
-- expect: staff.activated#5
-- expect: staff.updated#5
UPDATE `tblstaff` SET `active` = 1 WHERE `staffid` = 5;

-- step: An account is removed
-- expect: staff.deleted#6
DELETE FROM `tblstaff_permissions` WHERE `staff_id` = 6;
DELETE FROM `tblstaff` WHERE `staffid` = 6;
