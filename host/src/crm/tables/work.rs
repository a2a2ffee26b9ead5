//! Contracts, projects, tasks and time.

use super::super::rules::work as rules;
use super::{CrmTable, ParentTable, custom_fields, names};

pub static CONTRACTS: CrmTable = CrmTable {
    name: "contracts",
    created: Some("dateadded"),
    columns: names![
        id content description subject client datestart dateend contract_type project_id
        addedfrom dateadded isexpirynotified contract_value trash not_visible_to_client
        signed marked_as_signed acceptance_firstname acceptance_lastname acceptance_email
        acceptance_date last_sent_at contacts_sent_to last_sign_reminder_at
    ],
    newer: names![last_sent_at contacts_sent_to last_sign_reminder_at],
    long: names![content description contacts_sent_to],
    lists: &[custom_fields(&[("fieldto", "contracts")])],
    rules: rules::CONTRACTS,
    ..CrmTable::PLAIN
};

pub static CONTRACT_COMMENTS: CrmTable = CrmTable {
    name: "contract_comments",
    created: Some("dateadded"),
    columns: names![id content contract_id staffid dateadded],
    long: names![content],
    parents: &[ParentTable { table: "contracts", column: "contract_id" }],
    rules: rules::CONTRACT_COMMENTS,
    ..CrmTable::PLAIN
};

pub static CONTRACT_RENEWALS: CrmTable = CrmTable {
    name: "contract_renewals",
    created: Some("date_renewed"),
    columns: names![
        id contractid old_start_date new_start_date old_end_date new_end_date old_value
        new_value date_renewed renewed_by renewed_by_staff_id is_on_old_expiry_notified
    ],
    parents: &[ParentTable { table: "contracts", column: "contractid" }],
    rules: rules::CONTRACT_RENEWALS,
    ..CrmTable::PLAIN
};

pub static PROJECTS: CrmTable = CrmTable {
    name: "projects",
    created: Some("project_created"),
    columns: names![
        id name description status clientid billing_type start_date deadline
        project_created date_finished progress progress_from_tasks project_cost
        project_rate_per_hour estimated_hours addedfrom contact_notification
    ],
    ignored: names![progress],
    long: names![description],
    lists: &[custom_fields(&[("fieldto", "projects")])],
    rules: rules::PROJECTS,
    ..CrmTable::PLAIN
};

pub static MILESTONES: CrmTable = CrmTable {
    name: "milestones",
    created: Some("datecreated"),
    columns: names![
        id name description description_visible_to_customer start_date due_date project_id
        color milestone_order datecreated hide_from_customer
    ],
    long: names![description],
    parents: &[ParentTable { table: "projects", column: "project_id" }],
    rules: rules::MILESTONES,
    ..CrmTable::PLAIN
};

pub static PROJECT_MEMBERS: CrmTable = CrmTable {
    name: "project_members",
    columns: names![id project_id staff_id],
    parents: &[ParentTable { table: "projects", column: "project_id" }],
    rules: rules::PROJECT_MEMBERS,
    ..CrmTable::PLAIN
};

/// The places on the board (`kanban_order`, `milestone_order`) are not read.
pub static TASKS: CrmTable = CrmTable {
    name: "tasks",
    created: Some("dateadded"),
    columns: names![
        id name description priority dateadded startdate duedate datefinished addedfrom
        is_added_from_contact status recurring_type repeat_every recurring rel_id rel_type
        is_public billable billed invoice_id hourly_rate milestone visible_to_client
        deadline_notified
    ],
    long: names![name description],
    parents: &[ParentTable { table: "projects", column: "rel_id" }],
    lists: &[custom_fields(&[("fieldto", "tasks")])],
    rules: rules::TASKS,
    ..CrmTable::PLAIN
};

/// That a row belongs to a task, by its column `taskid`.
const OF_TASK: &[ParentTable] = &[ParentTable { table: "tasks", column: "taskid" }];

pub static TASK_ASSIGNED: CrmTable = CrmTable {
    name: "task_assigned",
    columns: names![id staffid taskid assigned_from is_assigned_from_contact],
    parents: OF_TASK,
    rules: rules::TASK_ASSIGNED,
    ..CrmTable::PLAIN
};

pub static TASK_FOLLOWERS: CrmTable = CrmTable {
    name: "task_followers",
    columns: names![id staffid taskid],
    parents: OF_TASK,
    rules: rules::TASK_FOLLOWERS,
    ..CrmTable::PLAIN
};

pub static TASK_COMMENTS: CrmTable = CrmTable {
    name: "task_comments",
    created: Some("dateadded"),
    columns: names![id content taskid staffid contact_id file_id dateadded],
    long: names![content],
    parents: OF_TASK,
    rules: rules::TASK_COMMENTS,
    ..CrmTable::PLAIN
};

pub static TASK_CHECKLIST_ITEMS: CrmTable = CrmTable {
    name: "task_checklist_items",
    created: Some("dateadded"),
    columns: names![
        id taskid description finished dateadded addedfrom finished_from list_order assigned
    ],
    long: names![description],
    parents: OF_TASK,
    rules: rules::TASK_CHECKLIST_ITEMS,
    ..CrmTable::PLAIN
};

pub static TIMESHEETS: CrmTable = CrmTable {
    name: "taskstimers",
    created: Some("start_time"),
    columns: names![id task_id start_time end_time staff_id hourly_rate note],
    long: names![note],
    parents: &[ParentTable { table: "tasks", column: "task_id" }],
    rules: rules::TIMESHEETS,
    ..CrmTable::PLAIN
};
