/**
 * A message block holds one Application Message for all who still need it: queue entries, the
 * retained index, rows that the host has not read. It is counted by reference and freed with the
 * last one.
 */
import { MEMORY_MESSAGE } from '../shared/memory-class';
import { allocate, release } from '../memory/blocks';
import { serialEra } from '../index/topic-intern';
import { EXPIRY_NONE, FACT_QOS_MASK, FACT_RETAIN, FACT_RETAIN_SHIFT } from '../shared/abi';
import { clock } from './limits';

/**
 * ```
 *  0      4               8               12            14      15         16
 *  +------+---------------+---------------+-------------+-------+----------+
 *  | refs | payloadLength | forwardLength | topicLength | facts | topicEra |
 *  +------+---------------+---------------+-------------+-------+----------+
 *  16          24       32          36            40
 *  +-----------+--------+-----------+-------------+------------+----------------------+---------+
 *  | expiresAt | number | publisher | topicSerial | Topic Name | forwarded properties | payload |
 *  +-----------+--------+-----------+-------------+------------+----------------------+---------+
 * ```
 */
@unmanaged
export class Message {
  references: u32;
  payloadLength: u32;
  forwardLength: u32;
  topicLength: u16;
  facts: u8; // QoS and RETAIN as the host knows them: FACT_*
  topicEra: u8; // in which `topicSerial` was given
  expiresAt: f64; // on the clock of `now`; 0 = never
  number: f64; // in the durable store; 0 = not stored
  publisher: u32; // session handle, 0 = the broker itself
  topicSerial: u32; // of the interned Topic Name; 0 = not known
}
const MESSAGE_HEADER_BYTES: u32 = 40;
if (offsetof<Message>() != MESSAGE_HEADER_BYTES) ERROR('layout drift: Message');


@inline
export function messageAt(pointer: u32): Message {
  return changetype<Message>(pointer);
}
@inline
export function messageQos(message: u32): u32 {
  return <u32>messageAt(message).facts & FACT_QOS_MASK;
}
@inline
export function messageRetain(message: u32): u32 {
  return (<u32>messageAt(message).facts & FACT_RETAIN) >> FACT_RETAIN_SHIFT;
}
export function setMessageFacts(message: u32, qos: u32, retain: u32): void {
  messageAt(message).facts = <u8>(qos | (retain << FACT_RETAIN_SHIFT));
}
/**
 * The number of its Topic Name, 0 when it was given in another era. The few eras that a block can
 * tell last for twelve days of a million new topics a second; afterwards names are read again.
 */
@inline
export function topicSerialOf(message: u32): u32 {
  const block = messageAt(message);
  return <u32>block.topicEra == serialEra ? block.topicSerial : 0;
}
export function setTopicSerial(message: u32, serial: u32): void {
  if (serialEra > <u32>u8.MAX_VALUE) return;
  messageAt(message).topicSerial = serial;
  messageAt(message).topicEra = <u8>serialEra;
}
@inline
export function topicOf(message: u32): u32 {
  return message + MESSAGE_HEADER_BYTES;
}
@inline
export function forwardOf(message: u32): u32 {
  return topicOf(message) + <u32>messageAt(message).topicLength;
}
@inline
export function payloadOf(message: u32): u32 {
  return forwardOf(message) + messageAt(message).forwardLength;
}

/** What a message counts against a queue's bound in bytes. */
@inline
export function messageBytes(message: u32): u32 {
  const block = messageAt(message);
  return block.payloadLength + block.forwardLength + <u32>block.topicLength;
}

/** An empty block with one reference, to be filled by the caller; 0 when memory is exhausted. */
export function createMessage(topicLength: u32, forwardLength: u32, payloadLength: u32): u32 {
  const bytes = MESSAGE_HEADER_BYTES + topicLength + forwardLength + payloadLength;
  const pointer = allocate(MEMORY_MESSAGE, bytes);
  if (pointer == 0) return 0;
  const message = messageAt(pointer);
  message.references = 1;
  message.payloadLength = payloadLength;
  message.forwardLength = forwardLength;
  message.topicLength = <u16>topicLength;
  message.facts = 0;
  message.expiresAt = 0;
  message.publisher = 0;
  message.number = 0;
  message.topicSerial = 0;
  return pointer;
}

@inline
export function holdMessage(pointer: u32): void {
  messageAt(pointer).references++;
}
export function releaseMessage(pointer: u32): void {
  const message = messageAt(pointer);
  if (--message.references == 0) release(MEMORY_MESSAGE, pointer);
}

@inline
export function isExpired(message: u32): bool {
  const expiresAt = messageAt(message).expiresAt;
  return expiresAt != 0 && expiresAt <= clock;
}
const ROUNDING_MS: f64 = 0.001;
/** The Message Expiry Interval less the time that the message waited here [MQTT-3.3.2-6]. */
export function remainingExpiry(expiresAt: f64): u32 {
  if (expiresAt == 0) return EXPIRY_NONE;
  if (expiresAt <= clock) return 0;
  // The sum that made `expiresAt` was rounded: what is a hair above a second is that second, or a
  // receiver would get more than the publisher gave. [MQTT-3.3.2-6]
  return <u32>Math.max(1, Math.ceil((expiresAt - clock - ROUNDING_MS) / 1000));
}
