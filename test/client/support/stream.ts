/** A stream of numbers from one client to another, while somebody interrupts it. */
import { expect } from '@jest/globals';
import type { NidoClient } from '../../../lib/client/index.js';
import { isToldInOrder, receivedInOrder, writtenInOrder } from './recorded-line.js';
import type { Recording, Written } from './recorded-line.js';
import { until } from './servers.js';

const TOPICS = 5;
/** Less than the limit of a test, so that a failure says what it was. */
export const WAIT_MS = 90_000;

/** What arrived, by topic. */
export class Arrived {
  readonly numbers = new Map<string, number[]>();

  take(topicName: string, payload: Buffer): void {
    const list = this.numbers.get(topicName);
    const number = Number(payload.toString());
    if (list === undefined) this.numbers.set(topicName, [number]);
    else list.push(number);
  }
  /** Numbers without repetitions, in the order of their first arrival. */
  firsts(topicName: string): number[] {
    return [...new Set(this.numbers.get(topicName))];
  }
  /** What a server did of its own, for a report. */
  disorder(): { repeated: number; overtaken: number } {
    let repeated = 0;
    let overtaken = 0;
    for (const [topicName, numbers] of this.numbers) {
      const firsts = this.firsts(topicName);
      if (topicName.startsWith('stream/2/')) repeated += numbers.length - firsts.length;
      if (firsts.some((number, at) => number < (firsts[at - 1] ?? 0))) overtaken += 1;
    }
    return { repeated, overtaken };
  }
}

export interface Streaming {
  readonly sender: NidoClient;
  readonly receiver: NidoClient;
  /** For each QoS. */
  readonly messages: number;
  /** Called after every ten, with the number of messages published so far. */
  interrupt(published: number): Promise<void> | void;
}

/** Publishes without waiting; resolves when all of it was acknowledged and has arrived. */
export async function stream(
  { sender, receiver, messages, interrupt }: Streaming,
): Promise<Arrived> {
  const arrived = new Arrived();
  for (const qos of [1, 2] as const) {
    await receiver.subscribe(`stream/${qos}/+`, (message) => {
      arrived.take(message.topicName, message.payload);
    }, { qos });
  }
  const published: Promise<unknown>[] = [];
  for (let number = 0; number < messages; number += 1) {
    for (const qos of [1, 2] as const) {
      const topic = `stream/${qos}/${number % TOPICS}`;
      published.push(sender.publish(topic, String(number), { qos }));
    }
    if (number % 10 !== 0) continue;
    await new Promise((resolve) => setImmediate(resolve)); // the sockets have their turn
    await interrupt(number);
  }
  await Promise.all(published);
  await until(() => expected(messages).every(([topic, numbers]) =>
    arrived.firsts(topic).length >= numbers.length), 'all messages', WAIT_MS);
  return arrived;
}

function expected(messages: number): (readonly [topic: string, numbers: number[]])[] {
  const numbers = Array.from({ length: messages }, (_, number) => number);
  return [1, 2].flatMap((qos) => Array.from({ length: TOPICS }, (_, topic) =>
    [`stream/${qos}/${topic}`, numbers.filter((number) => number % TOPICS === topic)] as const));
}

/** Every topic in its order; with QoS 2 every message once. */
export function expectInOrder(arrived: Arrived, messages: number): void {
  for (const [topic, numbers] of expected(messages)) {
    const isOnce = topic.startsWith('stream/2/');
    expect([topic, isOnce ? arrived.numbers.get(topic) : arrived.firsts(topic)])
      .toEqual([topic, numbers]);
  }
}

/**
 * Whatever the server made of it: the sender wrote in order, the receiver was told what came, in
 * the order in which it came. Returns what the sender wrote.
 */
export function expectBothClientsInOrder(
  arrived: Arrived, messages: number, recording: Recording,
): Written {
  const written = writtenInOrder(recording.of('sender'));
  expect(written.messages).toBe(2 * messages);
  const sent = receivedInOrder(recording.of('receiver'));
  for (const [topic, numbers] of expected(messages)) {
    const told = arrived.numbers.get(topic) ?? [];
    expect([...new Set(told)].sort((a, b) => a - b)).toEqual(numbers);
    const qos = topic.startsWith('stream/2/') ? 2 : 1;
    if (isToldInOrder(told, sent.get(topic) ?? [], qos)) continue;
    throw new Error(`${topic}: told ${told.join(' ')}\nof ${JSON.stringify(sent.get(topic))}`);
  }
  return written;
}
