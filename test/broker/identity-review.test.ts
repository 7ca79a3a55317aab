/** What let a client in ends while it is inside: through the public door, with authenticators of a test's own. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Broker, createGuard, hashPassword } from '../../lib/index.js';
import type { AuthenticationResult, Authenticator, BrokerOptions } from '../../lib/index.js';
import { Kit } from '../conformance/kit.js';

const QUIET = { error: () => undefined, warn: () => undefined };
const toClose: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of toClose.splice(0).reverse()) await close();
});

async function start(options: BrokerOptions): Promise<{ broker: Broker; kit: Kit }> {
  const broker = new Broker({ listeners: [{ host: '127.0.0.1', port: 0 }], logger: QUIET, ...options });
  toClose.push(() => broker.close({ deadlineMs: 200 }));
  await broker.listen();
  const kit = new Kit({ host: '127.0.0.1', port: broker.listeners[0].port as number }, 5);
  toClose.push(() => kit.close());
  return { broker, kit };
}

/** Lets everybody in; `stillHolds` is what the test says of a user. */
class Trusting implements Authenticator {
  readonly holds = new Map<string, () => boolean | Promise<boolean>>();
  review: () => void = () => undefined;
  authenticate({ username = '' }: { username?: string }): AuthenticationResult {
    const stillHolds = this.holds.get(username);
    return { ok: true, username, stillHolds };
  }
  onChange(review: () => void): void { this.review = review; }
}

describe('what let a client in', () => {
  it.each<[string, () => boolean | Promise<boolean>]>([
    ['ends', () => false],
    ['ends later', () => Promise.resolve(false)],
    ['cannot be had: it throws', () => { throw new Error('broken'); }],
    ['cannot be had: it rejects', () => Promise.reject(new Error('broken'))],
  ])('%s, and the client is out', async (_, answer) => {
    const guard = new Trusting();
    const { broker, kit } = await start({ authentication: [guard] });
    guard.holds.set('goes', answer).set('stays', () => true);
    const goes = await kit.connect({ username: 'goes', clientId: 'goes' });
    const stays = await kit.connect({ username: 'stays' });
    const unasked = await kit.connect({ username: 'unasked' });
    await kit.fence(goes);
    guard.review();
    await kit.expectRefused(goes, [0x87]);
    await kit.fence(stays);
    await kit.fence(unasked);
    expect(broker.client('goes')).toBeUndefined();
  });

  it('is looked at again when it changes once more meanwhile', async () => {
    const guard = new Trusting();
    const { kit } = await start({ authentication: [guard] });
    const answers: ((holds: boolean) => void)[] = [];
    guard.holds.set('ana', () => new Promise((resolve) => answers.push(resolve)));
    const ana = await kit.connect({ username: 'ana' });
    guard.review();
    guard.review();
    guard.review();
    expect(answers).toHaveLength(1);
    answers[0](true);
    await kit.fence(ana);
    expect(answers).toHaveLength(2);
    answers[1](false);
    await kit.expectRefused(ana, [0x87]);
  });

  it('is a line of a password file: who leaves it or gets another password is out', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'nidomq-users-')), 'passwords');
    const line = async (user: string, password: string): Promise<string> =>
      `${user}:${await hashPassword(Buffer.from(password), { format: 'sha512' })}\n`;
    const [ana, bruno, carla] = await Promise.all(['ana', 'bruno', 'carla'].map((user) => line(user, user)));
    writeFileSync(path, ana + bruno + carla);
    const guard = createGuard({ authentication: [{ kind: 'password-file', path, listeners: ['door'] }] });
    toClose.push(() => guard.close());
    const { kit } = await start({
      ...guard.brokerOptions, listeners: [{ name: 'door', host: '127.0.0.1', port: 0 }],
    });
    const [a, b, c] = await Promise.all(['ana', 'bruno', 'carla'].map((name) =>
      kit.connect({ username: name, password: name })));
    writeFileSync(path, await line('bruno', 'new') + carla);
    expect(guard.reload()).toBe(true);
    await kit.expectRefused(a, [0x87]);
    await kit.expectRefused(b, [0x87]);
    await kit.fence(c);
    expect(guard.reload()).toBe(true);
    await kit.fence(c);
  });
});
