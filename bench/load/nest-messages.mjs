// The messages of bench/nest.mjs: JSON of 64 bytes whose `id` says which one it is.
import { publishTemplate } from './packets.mjs';

export const TOPIC = 'bench/sala/value';
export const FILTER = 'bench/+/value';
/** The application tells how far it is once for so many messages. */
export const PROGRESS = 500;
const PAYLOAD_BYTES = 64;
const DIFFERENT = 1000;

export function idOf(sequence) {
  return 10_000 + sequence % DIFFERENT;
}

export function payloadOf(sequence) {
  const value = { id: idOf(sequence), room: 'sala', celsius: 21.5, at: 1_700_000_000 };
  return JSON.stringify(value).padEnd(PAYLOAD_BYTES);
}

export function templates({ qos, version }) {
  return Array.from({ length: DIFFERENT }, (_, sequence) => {
    const template = publishTemplate({ topicName: TOPIC, size: PAYLOAD_BYTES, qos, version });
    template.bytes.write(payloadOf(sequence), template.payloadAt);
    return template;
  });
}
