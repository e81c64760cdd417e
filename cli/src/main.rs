//! The `axio` command: starts programs on the fast path, shows what became of their sockets, and measures.
//!
//! It is an ordinary program that talks to the library only through what any user could: environment variables, the
//! statistics pages under `/proc`, and the report file. It links none of the library's code but the option parser and
//! the layout of the pages.
//!
//! * [`entry`]: the first function, and what an exit status means.
//! * [`arguments`]: the command line.
//! * [`run`]: `axio run`: one program with the library loaded, after a look at whether that can work.
//! * [`stat`]: `axio stat`: what became of the sockets of running programs.
//! * [`why`]: `axio why`: one paragraph about one socket.
//! * [`bench`]: `axio bench`: the same programs with and without the library.
//! * [`table`]: how tables look on a terminal and in a pipe.
//! * [`wrap`]: how sentences do.
#![cfg_attr(not(test), no_main)]

mod arguments;
mod bench;
mod entry;
mod run;
mod stat;
mod table;
mod why;
mod wrap;
