// A broker in a process of its own that says what JavaScript it allocates: `sample` starts V8's
// sampling heap profiler, with objects that were collected meanwhile; `stop` answers what it saw.
// `handler` adds a subscriber in this process, the control: it costs an object for each message.
import { Session } from 'node:inspector/promises';
import { Broker } from '../../dist/index.js';

const SAMPLING_BYTES = 4096;
const PLACES_SHOWN = 6;

const broker = new Broker({
  listeners: [{ host: '127.0.0.1', port: 0 }], engine: 'memory', logger: false,
});
await broker.listen();
const session = new Session();
session.connect();

function placeOf({ functionName, url, lineNumber }) {
  const file = url.split('/').slice(-2).join('/');
  return `${functionName || '(anonymous)'} ${file === '' ? 'native' : `${file}:${lineNumber + 1}`}`;
}

/** Adds up a profile. `ours`: what functions of the broker allocate, with natives they call. */
function addUp(node, sums, owner = '') {
  const { url } = node.callFrame;
  const file = url === '' ? owner : url;
  sums.bytes += node.selfSize;
  if (file.includes('/dist/')) sums.ours += node.selfSize;
  if (node.selfSize > 0) {
    const place = placeOf(node.callFrame);
    sums.places.set(place, (sums.places.get(place) ?? 0) + node.selfSize);
  }
  for (const child of node.children) addUp(child, sums, file);
  return sums;
}

const commands = {
  sample: async () => {
    await session.post('HeapProfiler.startSampling', {
      samplingInterval: SAMPLING_BYTES,
      includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true,
    });
    return {};
  },
  stop: async () => {
    const { profile } = await session.post('HeapProfiler.stopSampling');
    const { bytes, ours, places } = addUp(
      profile.head, { bytes: 0, ours: 0, places: new Map() },
    );
    const top = [...places].sort((a, b) => b[1] - a[1]).slice(0, PLACES_SHOWN);
    return { bytes, ours, top };
  },
  handler: async () => {
    await broker.subscribe('#', () => {}, { ack: 'on-receipt' });
    return {};
  },
};

process.on('message', async (name) => {
  process.send({ done: name, ...await commands[name]() });
});
process.on('disconnect', () => process.exit(0));
process.send({ done: 'listen', port: broker.listeners[0].port });
