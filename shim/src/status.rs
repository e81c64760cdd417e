//! What others see of this process and its sockets.
//!
//! * `page`: the statistics page, which `axio stat` reads.
//! * `rows`: what is told of one socket, there and by the status ioctl.
//! * `report`: the line that is written at exit.

mod page;
mod report;
mod rows;

pub use page::{ensure_page, forget_page, part_from_ancestors};
pub use report::report;
pub use rows::{
    after_switch, close_row, open_missing_row, open_row, row_pair, status_of, update_row,
};
