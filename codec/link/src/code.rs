//! Small closed sets of values: link modes, and the codes of refusals and faults.

use std::fmt;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal, $word:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// A number from a newer peer.
            Unknown(u32),
        }

        impl $name {
            /// Every code that this version knows.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The number on the wire; never reused.
            pub const fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Unknown(number) => number,
                }
            }

            /// The code of a number on the wire.
            pub const fn from_number(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    other => Self::Unknown(other),
                }
            }

            /// The word that status and logs show.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Unknown(_) => "Unknown",
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.u32(self.number())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                d.u32().map(Self::from_number)
            }
        }
    };
}

codes! {
    /// What a session is for.
    Mode {
        /// Until further notice.
        Replicate = 1, "replicate";
        /// Up to the source's ends at its start.
        Copy = 2, "copy";
    }
}

codes! {
    /// Why a Hello is refused, a link closed, or a topic stopped.
    Code {
        /// The destination lists no such upstream: the other half of the agreement is missing.
        NoUpstream = 1, "ErrNoUpstream";
        /// There is no stream at the path that was named.
        NoStream = 2, "ErrNoSuchStream";
        /// The certificate and the Hello name different clusters, or the gateway is not of the
        /// cluster that was meant.
        WrongCluster = 3, "ErrWrongCluster";
        /// No protocol version in common.
        Version = 4, "ErrProtocolVersion";
        /// The source's catalog or log is older than what the replica has seen of it.
        SourceWentBackwards = 5, "ErrSourceWentBackwards";
        /// The agreement is pinned to another stream's uuid.
        AnotherStream = 6, "ErrAnotherStream";
        /// A newer session or a change of the agreement took over.
        Fenced = 7, "ErrFenced";
        /// The topic's name belongs to another owner here.
        Conflict = 8, "ErrTopicConflict";
        /// The two logs hold different bytes at the same offset.
        Diverged = 9, "ErrDiverged";
        /// A batch was not at the next offset; the expected one stands beside.
        Misaligned = 10, "ErrMisaligned";
        /// A batch or frame is damaged.
        Corrupt = 11, "ErrCorrupt";
        /// The peer said what the protocol does not allow at this point.
        Protocol = 12, "ErrProtocol";
        /// The destination's disk is full or failing.
        Storage = 13, "ErrStorage";
        /// Not now; ask again.
        Busy = 14, "ErrBusy";
        /// The agreement was taken away.
        Removed = 15, "ErrAgreementRemoved";
        /// The process is stopping.
        Stopping = 16, "ErrStopping";
        /// Two clusters drew the same producer id prefix or node id.
        Collision = 17, "ErrIdCollision";
        /// The peer does not serve what was asked.
        Unsupported = 18, "ErrUnsupported";
        /// A limit of the destination would be passed.
        Limit = 19, "ErrLimit";
        /// A grant is unknown, used up, or for something else.
        BadGrant = 20, "ErrBadGrant";
        /// What was to be made exists already and is not ours.
        Exists = 21, "ErrAlreadyExists";
        /// Nothing was heard for too long.
        Silent = 22, "ErrPeerSilent";
        /// The source stream is gone.
        SourceGone = 23, "ErrSourceGone";
        /// The session is finished.
        Finished = 24, "Finished";
        /// Paused by the operator.
        Paused = 25, "Paused";
        /// A reason without a code of its own.
        Internal = 26, "ErrInternal";
        /// The topic is not, or no longer, at the replica.
        NoTopic = 27, "ErrNoSuchTopic";
        /// The connection broke.
        Lost = 28, "ErrConnectionLost";
    }
}
