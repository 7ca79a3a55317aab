// What test/core/codec.test.ts compiles: the codec alone. Not part of the package.
export * from '../../../assembly/codec/acknowledgement';
export * from '../../../assembly/codec/auth';
export * from '../../../assembly/codec/connack';
export {
  connectVersionUnsupported, isWillPayloadFormatValid, parseConnect,
} from '../../../assembly/codec/connect';
export * from '../../../assembly/codec/disconnect';
export {
  frameBodyAt, frameHeader, frameRemaining,
} from '../../../assembly/codec/fixed-header';
export {
  parseProperties, propertiesAt, propertiesEnd, setUserPropertiesMax, subscriptionIdentifiers,
} from '../../../assembly/codec/properties';
export * from '../../../assembly/codec/publish';
export * from '../../../assembly/codec/suback';
export * from '../../../assembly/codec/subscribe';
export * from '../../../assembly/codec/unsubscribe';
export * from '../../../assembly/codec/utf8-string';
export * from '../../../assembly/codec/variable-byte-integer';
export * from '../../../assembly/topic/topic-filter';
export * from '../../../assembly/topic/topic-name';

import { connect } from '../../../assembly/codec/connect';
import { parseAcknowledgement } from '../../../assembly/codec/acknowledgement';
import {
  frameBodyAt, frameHeader, frameRemaining, readFixedHeader,
} from '../../../assembly/codec/fixed-header';
import { parsePublish } from '../../../assembly/codec/publish';
import { FRAME_OK, PUBLISH } from '../../../assembly/shared/control-packet';
import { properties, willProperties } from '../../../assembly/codec/properties';

/** Static data ends below this address: packets go here. */
export function inputAt(): u32 {
  return (<u32>__heap_base + 4096) & ~4095;
}
export function connectRecord(): u32 {
  return changetype<u32>(connect);
}
export function propertyRecord(): u32 {
  return changetype<u32>(properties);
}
export function willPropertyRecord(): u32 {
  return changetype<u32>(willProperties);
}
/** An export has no default arguments. */
export function readHeader(at: u32, end: u32, version: u32): i32 {
  return readFixedHeader(at, end, version);
}

/** How many whole, valid packets stand in `[at, end)`: PUBLISH and acknowledgements only. */
export function countPackets(at: u32, end: u32, version: u32): u32 {
  let count: u32 = 0;
  while (readFixedHeader(at, end, version) == FRAME_OK) {
    const body = frameBodyAt;
    if (end - body < frameRemaining) break;
    at = body + frameRemaining;
    const type = frameHeader >> 4;
    const reason = type == PUBLISH
      ? parsePublish(<u8>frameHeader, body, at, version)
      : parseAcknowledgement(type, body, at, version);
    if (reason != 0) break;
    count++;
  }
  return count;
}
