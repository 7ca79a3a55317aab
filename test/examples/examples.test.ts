/** The examples as a newcomer runs them: compiled, in a process of their own, with real clients. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { connectAsync } from 'mqtt';
import type { MqttClient } from 'mqtt';
import { Broker } from 'nidomq';
import type { Child } from '../cli/child.js';
import { killChildren, startChild } from '../cli/child.js';
import { ROOT } from '../house/source-files.js';

const BUILD_DEADLINE_MS = 240_000;
const RUN_DEADLINE_MS = 120_000;
const JOIN_IN = /mosquitto_sub -h 127\.0\.0\.1 -p (\d+) -t 'casa\/#' -v/;

const toClose: (() => Promise<unknown>)[] = [];

beforeAll(() => {
  execFileSync(process.execPath, ['scripts/build-examples.mjs'], { cwd: ROOT, stdio: 'pipe' });
}, BUILD_DEADLINE_MS);

afterEach(async () => {
  await killChildren();
  for (const close of toClose.splice(0).reverse()) await close();
});

function run(example: string, ...words: string[]): Child {
  return startChild([join(ROOT, 'build/nest/examples', example, 'main.js'), ...words]);
}

async function device(port: number | string): Promise<MqttClient> {
  const client = await connectAsync(`mqtt://127.0.0.1:${port}`, {
    protocolVersion: 5, reconnectPeriod: 0,
  });
  client.on('error', () => undefined);
  toClose.push(() => client.endAsync(true));
  return client;
}

async function openBroker(): Promise<number> {
  const broker = new Broker({ listeners: [{ host: '127.0.0.1', port: 0 }], logger: false });
  await broker.listen();
  toClose.push(() => broker.close());
  return broker.listeners[0].port!;
}

/** What the house said, without the seconds in front. Messages may overtake each other: sorted. */
function happenings(said: string): string[] {
  return said.split('\n').flatMap((line) => /^ *\d+\.\d s {2}(.*)$/.exec(line)?.[1] ?? []).sort();
}

describe('examples/casa', () => {
  it('plays a round and prints what happened', async () => {
    const casa = run('casa', '--rounds', '1');
    expect(await casa.ended).toEqual({ status: 0, signal: null });
    expect(happenings(casa.said)).toEqual(readLines('test/examples/casa-round.txt'));
    expect(casa.said.match(/^--- .*$/gm)).toEqual([
      '--- The devices connect',
      '--- Temperatures: QoS 0, retained; every handler that matches runs, once',
      '--- Somebody comes home: an event at QoS 1, a command with a reply',
      '--- A device dies: the broker publishes its will',
      '--- A phone joins late: retained messages tell it everything',
      '--- The house goes to sleep',
    ]);
    expect(casa.said).toMatch(/All devices said goodbye, the broker is closed\.\n$/);
  }, RUN_DEADLINE_MS);

  it('takes a free port when 1883 is taken, says which, and lets others join in there', async () => {
    const squatter = createServer();
    await new Promise<void>((resolve) => {
      // Taken by somebody else: as good.
      squatter.once('error', () => resolve());
      squatter.listen(1883, '127.0.0.1', resolve);
    });
    toClose.push(() => new Promise((resolve) => squatter.close(resolve)));

    const casa = run('casa');
    const [, port] = await casa.says(JOIN_IN);
    expect(casa.said).toContain('Port 1883 is taken by another program: using a free one.');
    expect(port).not.toBe('1883');
    await casa.says(/termometro-sala +is connected/);
    const somebody = await device(port);
    await somebody.publishAsync('casa/sala/luz/set', 'on', { qos: 1 });
    await casa.says(/luz-sala +is told "on" at QoS 1/);
    await casa.says(/handler casa\/sala\/\+ +casa\/sala\/luz = on/);

    casa.signal('SIGINT');
    expect(await casa.ended).toEqual({ status: 0, signal: null });
    expect(casa.said).toContain('the broker is closed');
  }, RUN_DEADLINE_MS);
});

describe('examples/join', () => {
  it('runs the handlers of casa on a broker elsewhere; the door waits for the lamp', async () => {
    const port = await openBroker();
    const joined = run('join', '--url', `mqtt://127.0.0.1:${port}`);
    await joined.says(/Joined mqtt:/);
    expect(joined.said).toMatch(/Mapped \{casa\/sala\/\+, event\} qos 1, ack after-handler/);

    const lamp = await device(port);
    lamp.on('message', (_topic, payload, { properties }) => {
      const { responseTopic, correlationData } = properties!;
      const answer = JSON.stringify({ state: payload.toString() });
      lamp.publish(responseTopic!, answer, { qos: 1, properties: { correlationData } });
    });
    await lamp.subscribeAsync('casa/sala/luz/set', { qos: 1 });
    const door = await device(port);
    await door.publishAsync('casa/entrada/puerta', 'abierta', { qos: 1 });
    await joined.says(/the lamp answered {"state":"on"}/);
    await door.publishAsync('casa/sala/temperatura', '{"celsius":25.2}', { qos: 1 });
    await joined.says(/sala is too warm: 25.2/);
  }, RUN_DEADLINE_MS);

  it('shares the work between replicas: each message goes to one of them', async () => {
    const port = await openBroker();
    const words = ['--url', `mqtt://127.0.0.1:${port}`, '--share', 'casa'];
    const replicas = [run('join', ...words), run('join', ...words)];
    await Promise.all(replicas.map((one) => one.says(/Joined mqtt:/)));
    const thermometer = await device(port);
    for (let at = 0; at < 10; at += 1) {
      await thermometer.publishAsync('casa/cocina/temperatura', `{"celsius":${30 + at}}`, { qos: 1 });
    }
    // The first and the last of each replica's turns.
    await Promise.all(replicas.map((one) => one.says(/too warm: 3[89]/)));
    const said = replicas.flatMap((one) => happenings(one.said));
    expect(said).toHaveLength(10);
    expect(new Set(said).size).toBe(10);
  }, RUN_DEADLINE_MS);

  it('says in words that nobody is there to join', async () => {
    const joined = run('join', '--url', 'mqtt://127.0.0.1:1');
    expect(await joined.ended).toEqual({ status: 1, signal: null });
    expect(joined.said).toContain('cannot join the broker at mqtt://127.0.0.1:1 after 3 attempts');
  }, RUN_DEADLINE_MS);
});

describe('examples/request-response', () => {
  it('answers the application, a device and the stock transport', async () => {
    const example = run('request-response');
    expect(await example.ended).toEqual({ status: 0, signal: null });
    expect(example.said.trim().split('\n')).toEqual([
      'client.request  calc/sum [1,2,3] = 6',
      'client.send     calc/count/4 = 1, 2, 3, 4',
      'client.request  calc/divide [1,0] fails: division by zero',
      'client.request  calc/nobody fails: NIDO_NEST_REQUEST_TIMEOUT',
      'a device        calc/sum [4,5,6] = 15 (to question 1)',
      'stock transport calc/sum [7,8,9] = 24',
    ]);
  }, RUN_DEADLINE_MS);
});

describe('examples/acl', () => {
  it('lets in whom it should, and to what', async () => {
    const example = run('acl');
    expect(await example.ended).toEqual({ status: 0, signal: null });
    expect(example.said.trim().split('\n')).toEqual([
      'a stranger connects: no, Connection refused: Bad User Name or Password',
      'ana connects with a wrong password: no, Connection refused: Bad User Name or Password',
      'handler: termometro says that sala has 21 degrees',
      'termometro publishes for its room: yes',
      'termometro publishes for another: no, Publish error: Not authorized',
      'telefono looks at the house: yes',
      'telefono looks at everything: no, Subscribe error: Not authorized',
      'telefono switches the light: no, Publish error: Not authorized',
      'handler: light of sala is on',
      'ana switches the light: yes',
    ]);
  }, RUN_DEADLINE_MS);
});

describe('examples/migrate-from-transport-mqtt', () => {
  it('does the same before and after', async () => {
    const example = run('migrate-from-transport-mqtt');
    expect(await example.ended).toEqual({ status: 0, signal: null });
    const [before, after] = example.said.trim().split(/^after: .*\n/m);
    const happened = before.split('\n').slice(1, -1);
    expect(happened).toEqual([
      '  sum: 6',
      '  rooms: sala, cocina, entrada',
      '  error: {"status":"error","message":"as it should"}',
      '  handler: casa/sala/temperatura = 21.5',
    ]);
    expect(after.split('\n')).toEqual(happened);
  }, RUN_DEADLINE_MS);

  it('differs in one line, and the import of it', () => {
    const [before, after] = ['before', 'after'].map((name) =>
      readLines(`examples/migrate-from-transport-mqtt/${name}.ts`).slice(1));
    const gone = before.filter((line) => !after.includes(line));
    const come = after.filter((line) => !before.includes(line));
    expect(gone).toEqual([
      `import { Transport } from '@nestjs/microservices';`,
      '    transport: Transport.MQTT, options: { url },',
    ]);
    expect(come).toEqual([
      `import { NidoStrategy } from 'nidomq/nest';`,
      '    strategy: new NidoStrategy({ join: { url } }),',
    ]);
  });
});

function readLines(path: string): string[] {
  return readFileSync(join(ROOT, path), 'utf8').trimEnd().split('\n');
}
