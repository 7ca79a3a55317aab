// Resident memory of idle connections, and what five ramps up and down leave behind.
//   node bench/ramps.mjs [--connections 10000] [--ramps 5] [--json FILE]
// Keep Alive 300 s, one process for the broker and this one for the clients. Bars: at most 7 KB
// for a connection in the first ramp; memory of the last ramp, up and down, at most 1.1 x that of
// the first. Needs Linux (/proc) and room for 2 x connections file descriptors.
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startBroker } from './load/brokers.mjs';
import { Peer } from './load/peer.mjs';
import { rssBytes } from './load/process-stats.mjs';
import { answerHelp } from './load/words.mjs';

answerHelp(import.meta.url);

const { values } = parseArgs({
  options: {
    connections: { type: 'string', default: '10000' },
    ramps: { type: 'string', default: '5' },
    json: { type: 'string' },
  },
});
const CONNECTIONS = Number(values.connections);
const RAMPS = Number(values.ramps);
const BYTES_PER_CONNECTION_MAX = 7 * 1024;
const GROWTH_MAX = 1.1;
const SLOTS = 100;
/** One source address has 28,000 ports. */
const ADDRESSES = 16;
const SETTLE_MS = 3000;
const MIB = 1024 * 1024;

async function rampUp(port) {
  const peers = [];
  const some = async (first) => {
    for (let i = first; i < CONNECTIONS; i += SLOTS) {
      const localAddress = `127.0.0.${1 + (i % ADDRESSES)}`;
      const peer = new Peer({ port, clientId: `idle-${i}`, localAddress });
      await peer.connect();
      peer.onClose = (error) => { throw error; };
      peers.push(peer);
    }
  };
  await Promise.all(Array.from({ length: SLOTS }, (_, first) => some(first)));
  return peers;
}

const broker = await startBroker('nidomq');
const { pid, port } = broker;
await sleep(SETTLE_MS);
const before = rssBytes(pid);
console.log(`before: ${(before / MIB).toFixed(1)} MiB`);
const ramps = [];
try {
  for (let ramp = 1; ramp <= RAMPS; ramp++) {
    const peers = await rampUp(port);
    await sleep(SETTLE_MS);
    const up = rssBytes(pid);
    await Promise.all(peers.map((peer) => peer.disconnect()));
    await sleep(SETTLE_MS);
    const down = rssBytes(pid);
    ramps.push({ up, down });
    console.log(`ramp ${ramp}: up ${(up / MIB).toFixed(1)} MiB, down ${(down / MIB).toFixed(1)} MiB`);
  }
} finally {
  await broker.stop();
}

const [first, last] = [ramps[0], ramps.at(-1)];
const perConnection = (first.up - before) / CONNECTIONS;
const growth = { up: last.up / first.up, down: last.down / first.down };
console.log(`${Math.round(perConnection)} bytes for a connection (at most `
  + `${BYTES_PER_CONNECTION_MAX}); ramp ${RAMPS} is ${growth.up.toFixed(3)} x the first up and `
  + `${growth.down.toFixed(3)} x down (at most ${GROWTH_MAX})`);
if (values.json !== undefined) {
  writeFileSync(values.json, JSON.stringify({ before, ramps, perConnection, growth }, null, 2));
}
const isRight = perConnection <= BYTES_PER_CONNECTION_MAX && growth.up <= GROWTH_MAX
  && growth.down <= GROWTH_MAX;
if (!isRight) console.error('a bar is missed');
process.exit(isRight ? 0 : 1);
