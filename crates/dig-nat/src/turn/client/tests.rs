mod conduct;
mod hostile;
mod hour;
mod script;

use super::*;
use script::{Script, millis, peer, seconds};
