//! Images in processes of their own: the same results wherever they are made, attacks from within the sandbox, and deaths under load.
//!
//! This program is also the child that its servers start: an image that carries an order in its last bytes is not processed but used to
//! attack (`attacks.rs`), and so is one that is only looked at. `TEST_SANDBOX_KILLS` says how many children are killed under load (default
//! 25).

// A test's panic is its report.
#![allow(clippy::unwrap_used)]

#[cfg(target_os = "linux")]
mod attacks;
#[cfg(target_os = "linux")]
mod deaths;
#[cfg(target_os = "linux")]
#[path = "../odd/mod.rs"]
mod odd;
#[cfg(target_os = "linux")]
mod same;
#[cfg(target_os = "linux")]
mod settings;

#[cfg(target_os = "linux")]
mod support;

#[cfg(target_os = "linux")]
fn main() {
    use libtest_mimic::{Arguments, Failed, Trial};
    minilab::worker::isolation::child_main_if_requested_with(attacks::work, attacks::look);
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok::<(), Failed>(())
        })
    };
    let trials = vec![
        trial("every mode makes the same", same::every_mode_makes_the_same),
        trial("odd images end the same", same::odd_images_end_the_same),
        trial("attacks die alone", attacks::attacks_die_alone),
        trial("looks die alone", attacks::looks_die_alone),
        trial("looks outlive their children", deaths::looks_outlive_their_children),
        trial("children die under load", deaths::children_die_under_load),
        trial("the server's death makes no suspects", deaths::the_servers_death_makes_no_suspects),
        trial("children end with their server", deaths::children_end_with_their_server),
        trial("children give way to everybody", deaths::children_give_way_to_everybody),
        trial("a cancel ends the process", deaths::a_cancel_ends_the_process),
        trial("walls stand while a job runs", deaths::walls_stand_while_a_job_runs),
        trial("children are recycled and counted", deaths::children_are_recycled_and_counted),
        trial("a sandbox that is required", settings::a_sandbox_that_is_required),
        trial("layers that are missing", settings::layers_that_are_missing),
        trial("the level is told where people look", settings::the_level_is_told_where_people_look),
        trial("a library starts nobody", settings::a_library_starts_nobody),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("processes of their own are for Linux only: nothing was checked");
}
