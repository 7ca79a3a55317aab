// Messages for a while: who publishes what to whom, and what it cost the broker.
import { setTimeout as sleep } from 'node:timers/promises';
import { Peer } from './peer.mjs';
import { cpuMicros, rssBytes } from './process-stats.mjs';
import { Publisher, Receiver, Verification, now } from './flow.mjs';
import { publishTemplate } from './packets.mjs';

const DRAIN_DEADLINE_MS = 15_000;
const DRAIN_POLL_MS = 10;
const TOPICS_PER_PUBLISHER = 2000;
const TICK_MS = 1;

/** Shares of filters in percent, as they are found in the field: 40 % have wildcards. */
const FILTER_SHAPES = [
  { upTo: 60, filter: (a, b, c, d) => `${a}/${b}/${c}/${d}` },
  { upTo: 75, filter: (a, b, _c, d) => `${a}/${b}/+/${d}` },
  { upTo: 90, filter: (a, b) => `${a}/${b}/#` },
  { upTo: 99, filter: (_a, b, c, d) => `+/${b}/${c}/${d}` },
  { upTo: 100, filter: (a, _b, c, d) => `${a}/+/${c}/${d}` },
];

/** Topic `k` of the filters layout matches filter `k` and no other. */
function fourLevels(k) {
  return [`site${k % 50}`, `line${k}`, `cell${k}`, 'state'];
}

function filterOf(k) {
  return FILTER_SHAPES.find(({ upTo }) => k % 100 < upTo).filter(...fourLevels(k));
}

/** Topics of each publisher, filters of each receiver, and how many receivers get a copy. */
const LAYOUTS = {
  pairs: ({ pubs }) => ({
    topics: Array.from({ length: pubs }, (_, i) => [`bench/${i}`]),
    filters: Array.from({ length: pubs }, (_, i) => [`bench/${i}`]),
    copies: 1,
    order: 'next',
  }),
  fanout: ({ pubs, subs }) => ({
    topics: Array.from({ length: pubs }, (_, i) => [`bench/${i}`]),
    filters: Array.from({ length: subs }, () => ['bench/+']),
    copies: subs,
    order: 'next',
  }),
  fanin: ({ pubs }) => ({
    topics: Array.from({ length: pubs }, (_, i) => [`bench/${i}`]),
    filters: [['bench/+']],
    copies: 1,
    order: 'next',
  }),
  filters: ({ pubs, subs, filters }) => ({
    topics: Array.from({ length: pubs }, (_, i) =>
      Array.from({ length: TOPICS_PER_PUBLISHER }, (_, j) =>
        fourLevels((i * 7919 + j * 48_271) % filters).join('/'))),
    filters: Array.from({ length: subs }, (_, i) =>
      Array.from({ length: filters / subs }, (_, j) => filterOf(i * (filters / subs) + j))),
    copies: 1,
    order: 'later',
  }),
};

async function openPeers(target, count, prefix) {
  const peers = [];
  for (let i = 0; i < count; i++) {
    const peer = new Peer({ ...target, clientId: `${prefix}${i}` });
    peers.push(peer);
    await peer.connect();
  }
  return peers;
}

async function setUp(target, scenario, verification) {
  const { version } = target;
  const { qos, size, credit, window } = scenario;
  const layout = LAYOUTS[scenario.layout](scenario);
  const receiving = await openPeers(target, layout.filters.length, 'sub');
  const rssBefore = rssBytes(target.brokerPid);
  for (const [i, peer] of receiving.entries()) await peer.subscribe(layout.filters[i], qos);
  const rssAfter = rssBytes(target.brokerPid);
  const publishing = await openPeers(target, layout.topics.length, 'pub');
  const publishers = publishing.map((peer, index) => new Publisher(peer, {
    index, qos, credit, window, verification, copies: layout.copies,
    templates: layout.topics[index].map((topicName) =>
      publishTemplate({ topicName, size, qos, version })),
  }));
  const { order } = layout;
  const receivers = receiving.map((peer) =>
    new Receiver(peer, { publishers, order, version, verification }));
  const filterBytes = scenario.filters && (rssAfter - rssBefore) / scenario.filters;
  return { publishers, receivers, copies: layout.copies, filterBytes };
}

function openLoop(publishers, perSecond) {
  const start = now();
  let sent = 0;
  return setInterval(() => {
    const due = Math.floor((now() - start) * perSecond / 1000);
    for (; sent < due; sent++) {
      const publisher = publishers[sent % publishers.length];
      if (publisher.allowance() > 0) publisher.send(1);
    }
  }, TICK_MS);
}

async function drained(publishers) {
  const deadline = now() + DRAIN_DEADLINE_MS;
  const isDone = ({ confirmed, sent, acknowledged, qos }) =>
    confirmed === sent && (qos === 0 || acknowledged === sent);
  while (!publishers.every(isDone) && now() < deadline) await sleep(DRAIN_POLL_MS);
  return publishers.reduce((lost, { sent, confirmed }) => lost + sent - confirmed, 0);
}

function percentiles(latencies) {
  const sorted = Float64Array.from(latencies).sort();
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return { p50Us: at(0.5) * 1000, p99Us: at(0.99) * 1000 };
}

export async function runFlow(target, scenario) {
  const verification = new Verification();
  const flow = await setUp(target, scenario, verification);
  const { publishers, receivers } = flow;
  const latencies = [];
  let timer;
  if (scenario.perSecond === undefined) {
    for (const publisher of publishers) publisher.topUp();
  } else {
    for (const publisher of publishers) publisher.topUp = () => {};
    timer = openLoop(publishers, scenario.perSecond);
  }
  await sleep(target.warmUpSeconds * 1000);
  if (scenario.perSecond !== undefined) {
    for (const receiver of receivers) receiver.onLatency = (ms) => latencies.push(ms);
  }
  const result = await measureWindow(target, verification);
  clearInterval(timer);
  for (const publisher of publishers) publisher.limit = publisher.sent;
  const lost = await drained(publishers);
  if (lost > 0) verification.fault(`${lost} messages (${flow.copies} copies each) did not arrive`);
  for (const { peer } of [...publishers, ...receivers]) peer.destroy();
  return {
    ...result, faults: verification.faults, firstFault: verification.firstFault,
    ...(flow.filterBytes === undefined ? {} : { filterBytes: flow.filterBytes }),
    ...(latencies.length === 0 ? {} : percentiles(latencies)),
  };
}

async function measureWindow({ brokerPid, seconds }, verification) {
  const before = { at: now(), cpu: cpuMicros(brokerPid), received: verification.received };
  const loadBefore = process.cpuUsage();
  await sleep(seconds * 1000);
  const elapsedMs = now() - before.at;
  const messages = verification.received - before.received;
  const cpu = cpuMicros(brokerPid) - before.cpu;
  const load = process.cpuUsage(loadBefore);
  return {
    messages, usPerMessage: cpu / messages, messagesPerSecond: messages / elapsedMs * 1000,
    brokerLoad: cpu / elapsedMs / 1000,
    generatorLoad: (load.user + load.system) / elapsedMs / 1000,
  };
}
