// SPDX-License-Identifier: Apache-2.0
//! Protobuf in gRPC streams, with buffers that grow with what is in them: tonic's begin with 8 KiB, two of
//! them a stream, which idle telemetry streams keep.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Bytes that a buffer begins with; settings of clients fit.
const BEGIN_BYTES: usize = 256;
/// What is encoded is written when it is so much.
const YIELD_BYTES: usize = 32 << 10;

/// Messages `T` out, messages `U` in.
#[derive(Debug, Clone)]
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BEGIN_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BEGIN_BYTES, YIELD_BYTES))
    }
}
