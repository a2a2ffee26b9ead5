//! Rules for contracts, projects, tasks and time.
//!
//! Projects: 1 not started, 2 in progress, 3 on hold, 4 finished, 5 cancelled (some clients swap
//! the last two; the CRM does not). Tasks: 1 not started, 2 awaiting feedback, 3 testing, 4 in
//! progress, 5 complete.

use super::ChangeCondition::{
    self, Becomes, Changed, CompletesMilestone, Gone, New, SetLater, Updated,
};
use super::ValueCondition::{IsEmpty, IsNot, IsSet};
use super::{DueCondition, DueMoment, EventRule, RuleData};

const fn contract_date(moment: DueMoment) -> ChangeCondition {
    ChangeCondition::Due(DueCondition {
        date: "dateend",
        moment,
        when: &[IsEmpty("trash")],
        told: None,
    })
}

/// The trash is the nearest that the CRM has to cancelling.
pub const CONTRACTS: &[EventRule] = &[
    EventRule::new("contract.created", &[New(&[])]),
    EventRule::new("contract.updated", &[Updated]),
    EventRule::new("contract.signed", &[Becomes("signed", "1"), Becomes("marked_as_signed", "1")]),
    EventRule::new("contract.expiring", &[contract_date(DueMoment::NearAsContracts)]),
    EventRule::new("contract.expired", &[contract_date(DueMoment::Passed)]),
    EventRule::new("contract.cancelled", &[Becomes("trash", "1")]),
    EventRule::new("contract.deleted", &[Gone]),
];

pub const CONTRACT_COMMENTS: &[EventRule] =
    &[EventRule::new("contract.comment_added", &[New(&[])]).about("contracts", "comment")];

pub const CONTRACT_RENEWALS: &[EventRule] =
    &[EventRule::new("contract.renewed", &[New(&[])]).about("contracts", "renewal")];

pub const PROJECTS: &[EventRule] = &[
    EventRule::new("project.created", &[New(&[])]),
    EventRule::new("project.updated", &[Updated]),
    EventRule::new("project.status_changed", &[Changed("status")]).data(RuleData::Change("status")),
    EventRule::new("project.finished", &[Becomes("status", "4")]),
    EventRule::new("project.completed", &[Becomes("status", "4")]).alias_of("project.finished"),
    EventRule::new("project.deleted", &[Gone]),
];

pub const MILESTONES: &[EventRule] =
    &[EventRule::new("project.milestone_added", &[New(&[])]).about("projects", "milestone")];

pub const PROJECT_MEMBERS: &[EventRule] =
    &[EventRule::new("project.member_added", &[New(&[])]).about("projects", "member")];

const OVERDUE: ChangeCondition = ChangeCondition::Due(DueCondition {
    date: "duedate",
    moment: DueMoment::Passed,
    when: &[IsNot("status", "5")],
    told: None,
});

pub const TASKS: &[EventRule] = &[
    EventRule::new("task.created", &[New(&[])]),
    EventRule::new("task.updated", &[Updated]),
    EventRule::new("task.status_changed", &[Changed("status")]).data(RuleData::Change("status")),
    EventRule::new("task.priority_changed", &[Changed("priority")])
        .data(RuleData::Change("priority")),
    EventRule::new("task.completed", &[Becomes("status", "5")]),
    EventRule::new("project.milestone_completed", &[CompletesMilestone]).data(RuleData::Milestone),
    EventRule::new("task.overdue", &[OVERDUE]),
    EventRule::new("task.deleted", &[Gone]),
];

pub const TASK_ASSIGNED: &[EventRule] =
    &[EventRule::new("task.assigned", &[New(&[])]).about("tasks", "assignee")];

pub const TASK_FOLLOWERS: &[EventRule] =
    &[EventRule::new("task.follower_added", &[New(&[])]).about("tasks", "follower")];

pub const TASK_COMMENTS: &[EventRule] =
    &[EventRule::new("task.comment_added", &[New(&[])]).about("tasks", "comment")];

pub const TASK_CHECKLIST_ITEMS: &[EventRule] =
    &[EventRule::new("task.checklist_item_completed", &[Becomes("finished", "1")])
        .about("tasks", "checklist_item")];

/// A span without end is a running timer. One that is logged by hand has both from the start.
pub const TIMESHEETS: &[EventRule] = &[
    EventRule::new("timesheet.created", &[New(&[])]),
    EventRule::new("task.timesheet_added", &[New(&[IsSet("task_id")])])
        .alias_of("timesheet.created")
        .about("tasks", "timesheet"),
    EventRule::new("timesheet.timer_started", &[New(&[IsEmpty("end_time")])]),
    EventRule::new("timesheet.updated", &[Updated]),
    EventRule::new("timesheet.timer_stopped", &[SetLater("end_time")]),
    EventRule::new("timesheet.deleted", &[Gone]),
];
