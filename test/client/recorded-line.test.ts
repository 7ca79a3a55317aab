/** What a recording says is judged: here is what it must not let pass. */
import { describe, expect, it } from '@jest/globals';
import mqttPacket from 'mqtt-packet';
import type { Packet } from 'mqtt-packet';
import { Recording, isToldInOrder, receivedInOrder, writtenInOrder } from './support/recorded-line.js';

type Said = readonly [from: 'client' | 'server', packet: Packet];

const message = (number: number, messageId: number, qos: 1 | 2, dup = false): Packet => ({
  cmd: 'publish', topic: 't', payload: String(number), messageId, qos, dup, retain: false,
});
const mine = (number: number, messageId: number, qos: 1 | 2, dup = false): Said =>
  ['client', message(number, messageId, qos, dup)];
const theirs = (number: number, messageId: number, qos: 1 | 2, dup = false): Said =>
  ['server', message(number, messageId, qos, dup)];
const answer = (from: Said[0], cmd: 'puback' | 'pubrec' | 'pubrel', messageId: number): Said =>
  [from, { cmd, messageId } as Packet];

function recorded(...connections: readonly (readonly Said[])[]): ReturnType<Recording['of']> {
  const recording = new Recording();
  for (const said of connections) {
    const line = recording.line();
    line.client(mqttPacket.generate({ cmd: 'connect', clientId: 'c', keepalive: 0, clean: false }));
    for (const [from, packet] of said) line[from](mqttPacket.generate(packet));
  }
  return recording.of('c');
}

describe('what a sender wrote', () => {
  it('may come again after the connection was lost', () => {
    expect(writtenInOrder(recorded(
      [mine(0, 1, 1), mine(1, 2, 1), mine(2, 3, 2), answer('server', 'puback', 1)],
      [mine(1, 2, 1, true), mine(2, 3, 2, true), mine(3, 4, 1)],
    ))).toEqual({ messages: 4, again: 2 });
  });

  it.each<[string, Said[][], RegExp]>([
    ['overtook another', [[mine(1, 1, 1), mine(0, 2, 1)]], /0 comes after 1/],
    ['came again without DUP', [[mine(0, 1, 1)], [mine(0, 1, 1)]], /without DUP/],
    ['came twice', [[mine(0, 1, 1), mine(0, 1, 1, true)]], /twice on a connection/],
    ['has a new identifier', [[mine(0, 1, 1)], [mine(0, 2, 1, true)]], /new Packet Identifier/],
    ['has one in use', [[mine(0, 1, 1), mine(1, 1, 1)]], /Packet Identifier of 0/],
    ['was left out', [[mine(0, 1, 1)], [mine(1, 2, 1)]], /before 0, which nobody/],
    ['came again out of order', [[mine(0, 1, 1), mine(1, 2, 1)], [mine(1, 2, 1, true)]],
      /before 0, which nobody/],
    ['came again after PUBREL', [
      [mine(0, 1, 2), answer('server', 'pubrec', 1), answer('client', 'pubrel', 1)],
      [mine(0, 1, 2, true)]], /after its PUBREL/],
    ['was released out of order', [
      [mine(0, 1, 2), mine(1, 2, 2), answer('server', 'pubrec', 1), answer('server', 'pubrec', 2),
        answer('client', 'pubrel', 2), answer('client', 'pubrel', 1)]], /out of order/],
  ])('is wrong when a message %s', (_, connections, said) => {
    expect(() => writtenInOrder(recorded(...connections))).toThrow(said);
  });
});

describe('what a receiver told', () => {
  const told = (numbers: number[], qos: 1 | 2, ...connections: Said[][]): boolean =>
    isToldInOrder(numbers, receivedInOrder(recorded(...connections)).get('t')!, qos);

  it('is what came, as far as it was read', () => {
    const lost = [[theirs(0, 1, 1), theirs(1, 2, 1)], [theirs(0, 1, 1, true), theirs(1, 2, 1, true)]];
    for (const numbers of [[0, 1], [0, 0, 1], [0, 1, 0, 1]]) {
      expect(told(numbers, 1, ...lost)).toBe(true);
    }
    for (const numbers of [[1, 0], [0, 1, 1], [1], [0, 2]]) {
      expect(told(numbers, 1, ...lost)).toBe(false);
    }
  });

  it('is told once with QoS 2, unless it was released before it came again', () => {
    const again = theirs(0, 1, 2, true);
    expect(told([0], 2, [theirs(0, 1, 2)], [again])).toBe(true);
    expect(told([0, 0], 2, [theirs(0, 1, 2)], [again])).toBe(false);
    const released = [theirs(0, 1, 2), answer('client', 'pubrec', 1), answer('server', 'pubrel', 1)];
    expect(told([0, 0], 2, released, [again])).toBe(true);
  });

  it('is acknowledged in its order', () => {
    expect(() => receivedInOrder(recorded(
      [theirs(0, 1, 1), theirs(1, 2, 1), answer('client', 'puback', 2)],
    ))).toThrow(/puback 2 instead of 1/);
  });
});
