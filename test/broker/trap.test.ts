/**
 * A real trap inside the running broker's core (docs/adr/0010): it fails loudly, closes its
 * connections, and the process goes on with a new core.
 */
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { Core } from '../../lib/core/core.js';
import { createMemoryEngine } from '../../lib/engine/index.js';
import { Stage, until, within } from './support/clients.js';

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => stage.stop());

/** Beyond the end of any linear memory. */
const NOWHERE = 0xffff_fff0;

interface Inside {
  readonly x: { freeMessage(at: number): void };
}

it('a trap closes every connection, is told as a problem, and a new core serves who comes', async () => {
  const cores: Core[] = [];
  const broker = await stage.broker({}, {
    createCore(options, events, around) {
      const core = new Core(options, events, around);
      cores.push(core);
      return core;
    },
  });
  const clients = await Promise.all(
    ['a', 'b', 'c'].map((clientId) => stage.client({ clientId })),
  );
  await clients[0]!.mqtt.subscribeAsync('t', { qos: 1 });
  const own: string[] = [];
  await broker.subscribe('t', (message) => { own.push(message.payload.toString()); });

  const problem = stage.event('problem');
  (cores[0] as unknown as Inside).x.freeMessage(NOWHERE);
  const { where, error } = await problem;
  expect(where).toBe('core');
  expect(error).toHaveProperty('name', 'RuntimeError');
  await within(Promise.all(clients.map(({ whenClosed }) => whenClosed)), 'closed connections');

  expect(cores).toHaveLength(2);
  const again = await stage.client({ clientId: 'a', clean: false });
  expect((await again.whenConnected).sessionPresent).toBe(false); // the memory engine keeps nothing
  await again.mqtt.subscribeAsync('t', { qos: 1 });
  await within(again.mqtt.publishAsync('t', 'after', { qos: 1 }), 'PUBACK');
  expect((await again.next())[0]!.payload).toBe('after');
  expect(own).toEqual(['after']); // handlers of this process outlive the core
});

it('a broker that is closed while a new core takes over opens its engine no more', async () => {
  const calls: string[] = [];
  let letGo = (): void => undefined;
  const isHeld = new Promise<void>((resolve) => { letGo = resolve; });
  const inner = createMemoryEngine({ durability: 'disk' });
  const engine = new Proxy(inner, {
    get(target, name) {
      if (name === 'open' || name === 'close') {
        return async () => {
          calls.push(name);
          if (name === 'close') await isHeld;
          await target[name]();
        };
      }
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
  const cores: Core[] = [];
  const broker = await stage.broker({}, {
    engine,
    createCore(options, events, around) {
      const core = new Core(options, events, around);
      cores.push(core);
      return core;
    },
  });
  const problem = stage.event('problem');
  (cores[0] as unknown as Inside).x.freeMessage(NOWHERE);
  await problem;
  await until(() => calls.includes('close'), 'the end of the engine that the core had');
  const closing = broker.close();
  letGo();
  await within(closing, 'close()');
  await new Promise((resolve) => setImmediate(resolve)); // nothing goes on behind its back
  expect(calls).toEqual(['open', 'close']);
});
