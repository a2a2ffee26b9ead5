//! Rules for contracts, projects, tasks and time.
//!
//! Projects: 1 not started, 2 in progress, 3 on hold, 4 finished, 5 cancelled (some clients swap
//! the last two; the CRM does not). Tasks: 1 not started, 2 awaiting feedback, 3 testing, 4 in
//! progress, 5 complete.

use super::When::{self, Becomes, Changed, CompletesMilestone, Gone, New, SetLater, Updated};
use super::Where::{IsEmpty, IsNot, IsSet};
use super::{Data, Due, Moment, Rule};

const fn contract_date(moment: Moment) -> When {
    When::Due(Due { date: "dateend", moment, when: &[IsEmpty("trash")], told: None })
}

/// The trash is the nearest that the CRM has to cancelling.
pub const CONTRACTS: &[Rule] = &[
    Rule::new("contract.created", &[New(&[])]),
    Rule::new("contract.updated", &[Updated]),
    Rule::new("contract.signed", &[Becomes("signed", "1"), Becomes("marked_as_signed", "1")]),
    Rule::new("contract.expiring", &[contract_date(Moment::NearAsContracts)]),
    Rule::new("contract.expired", &[contract_date(Moment::Passed)]),
    Rule::new("contract.cancelled", &[Becomes("trash", "1")]),
    Rule::new("contract.deleted", &[Gone]),
];

pub const CONTRACT_COMMENTS: &[Rule] =
    &[Rule::new("contract.comment_added", &[New(&[])]).about("contracts", "comment")];

pub const CONTRACT_RENEWALS: &[Rule] =
    &[Rule::new("contract.renewed", &[New(&[])]).about("contracts", "renewal")];

pub const PROJECTS: &[Rule] = &[
    Rule::new("project.created", &[New(&[])]),
    Rule::new("project.updated", &[Updated]),
    Rule::new("project.status_changed", &[Changed("status")]).data(Data::Change("status")),
    Rule::new("project.finished", &[Becomes("status", "4")]),
    Rule::new("project.completed", &[Becomes("status", "4")]).alias_of("project.finished"),
    Rule::new("project.deleted", &[Gone]),
];

pub const MILESTONES: &[Rule] =
    &[Rule::new("project.milestone_added", &[New(&[])]).about("projects", "milestone")];

pub const PROJECT_MEMBERS: &[Rule] =
    &[Rule::new("project.member_added", &[New(&[])]).about("projects", "member")];

const OVERDUE: When = When::Due(Due {
    date: "duedate",
    moment: Moment::Passed,
    when: &[IsNot("status", "5")],
    told: None,
});

pub const TASKS: &[Rule] = &[
    Rule::new("task.created", &[New(&[])]),
    Rule::new("task.updated", &[Updated]),
    Rule::new("task.status_changed", &[Changed("status")]).data(Data::Change("status")),
    Rule::new("task.priority_changed", &[Changed("priority")]).data(Data::Change("priority")),
    Rule::new("task.completed", &[Becomes("status", "5")]),
    Rule::new("project.milestone_completed", &[CompletesMilestone]).data(Data::Milestone),
    Rule::new("task.overdue", &[OVERDUE]),
    Rule::new("task.deleted", &[Gone]),
];

pub const TASK_ASSIGNED: &[Rule] =
    &[Rule::new("task.assigned", &[New(&[])]).about("tasks", "assignee")];

pub const TASK_FOLLOWERS: &[Rule] =
    &[Rule::new("task.follower_added", &[New(&[])]).about("tasks", "follower")];

pub const TASK_COMMENTS: &[Rule] =
    &[Rule::new("task.comment_added", &[New(&[])]).about("tasks", "comment")];

pub const TASK_CHECKLIST_ITEMS: &[Rule] =
    &[Rule::new("task.checklist_item_completed", &[Becomes("finished", "1")])
        .about("tasks", "checklist_item")];

/// A span without end is a running timer. One that is logged by hand has both from the start.
pub const TIMESHEETS: &[Rule] = &[
    Rule::new("timesheet.created", &[New(&[])]),
    Rule::new("task.timesheet_added", &[New(&[IsSet("task_id")])])
        .alias_of("timesheet.created")
        .about("tasks", "timesheet"),
    Rule::new("timesheet.timer_started", &[New(&[IsEmpty("end_time")])]),
    Rule::new("timesheet.updated", &[Updated]),
    Rule::new("timesheet.timer_stopped", &[SetLater("end_time")]),
    Rule::new("timesheet.deleted", &[Gone]),
];
