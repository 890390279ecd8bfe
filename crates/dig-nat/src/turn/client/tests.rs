mod conduct;
mod hostile;
mod hour;
mod script;

use super::*;
use crate::{stun::TransactionId, turn::message::Writer};
use script::{Script, millis, peer, seconds};
