/** An acl_file and a password file that were made for mosquitto mean the same here: asked both, by the hundred. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { AclFileRules, PasswordFileAuthenticator, RulesAuthorizer } from '../../lib/guard/index.js';
import type { Identity } from '../../lib/broker/hooks.js';
import { createFilterSet } from './core-filter-set.js';
import { TestClient, hasProgram, randomFrom, startMosquitto, temporaryFolder } from './mosquitto.js';
import { connectRequest } from './requests.js';

const installed = hasProgram('mosquitto') && hasProgram('mosquitto_passwd');
const folder = temporaryFolder();
afterAll(() => folder.remove());

const users = ['anna', 'bruno', 'a+b', 'x#', '%c', '', undefined];
const clientIds = ['dev1', 'dev2', 'c+1', 'c#', '%u', 'anna'];
const levels = ['a', 'b', 'dev1', 'anna', '', 'x-dev1', '%u', '$d'];
const filterLevels = [...levels, '+', '+', '%c', '%u', 'x-%c', '%u%c'];
type Access = 'read' | 'write' | 'readwrite' | 'deny';
const accesses: Access[] = ['read', 'write', 'readwrite', 'deny'];

function randomAclFile(seed: number): string {
  const random = randomFrom(seed);
  const pick = <T>(list: readonly T[]): T => list[random(list.length)];
  const filter = (from: readonly string[]): string => {
    const parts = Array.from({ length: 1 + random(3) }, () => pick(from));
    if (random(4) === 0) parts.push('#');
    const text = parts.join('/');
    return text === '' ? '/' : text;
  };
  const line = (keyword: string, from: readonly string[]): string => {
    const topic = filter(from);
    const [before, between, after] = [pick(['', '', ' ']), pick([' ', '   ']), pick(['', '', ' ', '\t', ' \r'])];
    const words = random(6) === 0 ? [keyword, topic] : [keyword, pick(accesses), topic];
    return `${before}${words.join(between)}${after}`;
  };
  const lines = ['# made for mosquitto', ''];
  const plain = filterLevels.filter((level) => !level.includes('%') || level === '%u');
  for (let count = random(3); count > 0; count -= 1) lines.push(line('topic', plain));
  // Sections of one user may stand apart, with anything between their lines.
  for (const user of ['anna', 'bruno', 'a+b', 'anna', 'x#']) {
    lines.push(`user ${user}${pick(['', '  ', '\t'])}`, pick(['', '# topic deny #', '  ']));
    for (let count = random(5); count > 0; count -= 1) {
      lines.push(random(8) === 0 ? line('pattern', filterLevels) : line('topic', plain));
    }
  }
  for (let count = random(6); count > 0; count -= 1) lines.push(line('pattern', filterLevels));
  return `${lines.join('\n')}\nuser admin\ntopic readwrite #\ntopic readwrite $d/#\n`;
}

function randomTopic(random: (below: number) => number): string {
  const parts = Array.from({ length: 1 + random(3) }, () => levels[random(levels.length)]);
  const text = parts.join('/');
  return text === '' ? '/' : text;
}

async function questionsOf(seed: number): Promise<{ asked: number; disagreements: string[] }> {
  const path = folder.file(`acl-${seed}`, randomAclFile(seed));
  const mosquitto = await startMosquitto(['allow_anonymous true', `acl_file ${path}`]);
  const rules = new AclFileRules({ path, createFilterSet });
  const authorizer = new RulesAuthorizer({ rules: [rules], widerSubscriptions: 'filter' });
  const random = randomFrom(seed * 7 + 1);
  const disagreements: string[] = [];
  let asked = 0;
  const { client: admin } = await TestClient.connect(mosquitto.port, { clientId: 'boss', username: 'admin' });
  try {
    for (const username of users) {
      const clientId = clientIds[random(clientIds.length)];
      const who: Identity = { clientId, username };
      const { client } = await TestClient.connect(mosquitto.port, { clientId, username });
      const topics = [...new Set(Array.from({ length: 12 }, () => randomTopic(random)))];
      for (const topic of topics) {
        const write = await client.publish(topic, 'w') < 0x80;
        if (write !== authorizer.canPublish(who, topic, { qos: 1, retain: false })) {
          disagreements.push(`${username}/${clientId} publish ${topic}: mosquitto ${write}`);
        }
      }
      // mosquitto takes every subscription and looks at each delivery: a wide one shows the same.
      await client.subscribe(random(2) === 0 ? topics : ['#', '+/#', '/#', '$d/#']);
      await client.ping();
      client.received.length = 0;
      for (const topic of topics) await admin.publish(topic, 'r');
      await client.ping();
      for (const topic of topics) {
        const read = client.received.some((message) => message.topic === topic);
        if (read !== authorizer.canReceive?.(who, topic)) {
          disagreements.push(`${username}/${clientId} receive ${topic}: mosquitto ${read}`);
        }
      }
      asked += 2 * topics.length;
      client.close();
    }
  } finally {
    admin.close();
    rules.close();
    await mosquitto.stop();
  }
  return { asked, disagreements };
}

if (!installed) process.stderr.write('SKIPPED: mosquitto is not installed, its verdicts are not compared\n');
const whenInstalled = installed ? it : it.skip;

describe('verdicts of mosquitto', () => {
  whenInstalled('on generated acl files and questions are ours', async () => {
    let asked = 0;
    for (let seed = 1; seed <= 8; seed += 1) {
      const answer = await questionsOf(seed);
      expect({ seed, disagreements: answer.disagreements }).toEqual({ seed, disagreements: [] });
      asked += answer.asked;
    }
    expect(asked).toBeGreaterThan(600);
  }, 60_000);

  whenInstalled('on passwords of a file made by mosquitto_passwd are ours', async () => {
    const path = join(folder.path, 'passwords');
    const known = [['anna', 'segreta', 'sha512-pbkdf2'], [' blank ', 'y', 'sha512'], ['bruno', 'päss wörd:$7$', 'sha512'], ['c', 'x', 'sha512']];
    for (const [at, [user, password, format]] of known.entries()) {
      const flags = ['-H', format, ...(at === 0 ? ['-c'] : []), '-b', path, user, password];
      expect(spawnSync('mosquitto_passwd', flags).status).toBe(0);
    }
    const mosquitto = await startMosquitto([`password_file ${path}`, 'allow_anonymous false']);
    const authenticator = new PasswordFileAuthenticator({ path });
    const names = ['anna', 'bruno', 'c', 'ANNA', 'nobody', '', 'blank', ' blank '];
    const words = ['y', 'segreta', 'Segreta', 'päss wörd:$7$', 'x', '', undefined];
    try {
      for (const username of names) {
        for (const password of words) {
          const { client, reasonCode } = await TestClient.connect(mosquitto.port, { clientId: 'q', username, password });
          client.close();
          const ours = await authenticator.authenticate(connectRequest({ username, password }));
          expect({ username, password, ok: ours.ok === true }).toEqual({ username, password, ok: reasonCode === 0 });
        }
      }
    } finally {
      authenticator.close();
      await mosquitto.stop();
    }
  }, 30_000);
});
