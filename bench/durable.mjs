// Durable messages a second, with other brokers in the same run.
//
// - publish: 1, 10, 100, 1000 publishers with a window of unacknowledged QoS 1 messages each, to an
//   offline persistent session each; on this disk and on one that takes 2 ms more for every sync.
//   The window is always full: PUBACK takes what the queueing of window x publishers takes.
// - paced (with the first of `--sync-us`): 40,000 messages a second from 100 publishers, to see what a PUBACK takes without that.
// - drain: a receiver comes back to 100,000 messages.
//
//   npm run bench:durable [-- publish paced drain] [--publishers 1,10,100,1000] [--window 10]
//     [--warmup 1] [--seconds 3] [--bytes 256] [--sync-us 0,2000] [--durability disk] [--brokers nidomq,mosquitto]
//     [--peers FOLDER] [--messages 100000] [--rate 40000] [--dir FOLDER] [--profile FOLDER] [--gate]
// On a machine whose disk is busy with others: `--dir /dev/shm --sync-us 100` is a disk of its own.
// `--gate` ends with 1 when nidomq misses a bar.
import { PROMISES, availableBrokers, startBroker } from './durable/brokers.mjs';
import { measureSync, slowSync } from './durable/disk.mjs';
import { drain, publish } from './durable/load.mjs';
import { checkWords } from './load/words.mjs';

checkWords(import.meta.url, {
  options: [
    'brokers', 'bytes', 'dir', 'durability', 'limits', 'messages', 'peers', 'profile', 'publishers', 'rate',
    'seconds', 'sync-us', 'warmup', 'window',
  ],
  flags: ['gate'], words: ['publish', 'paced', 'drain'],
});

const BARS = { perSecond: 40_000, pacedP99: 10, drainMicros: 8 };
const PACED_PUBLISHERS = 100;
/** fdatasync for which the bars are meant. */
const FAST_SYNC_MS = 0.2;

function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
}
const numbers = (name, fallback) => String(option(name, fallback)).split(',').map(Number);
const named = ['publish', 'paced', 'drain'].filter((part) => process.argv.includes(part));
const wants = (part) => named.length === 0 || named.includes(part);
const load = {
  window: Number(option('window', 10)), bytes: Number(option('bytes', 256)),
  warmup: Number(option('warmup', 1)), seconds: Number(option('seconds', 3)),
};
const packages = option('peers', undefined);
const available = availableBrokers(packages);
const chosen = String(option('brokers', available.join(','))).split(',');
const brokers = available.filter((name) => chosen.includes(name));
const missed = [];

function bar(what, isMet) {
  if (!isMet) missed.push(what);
  return isMet ? '' : '  <-- misses the bar';
}
const cell = (value, width) => String(value).padStart(width);
const ms = (value) => (value === undefined ? '-' : value.toFixed(value < 10 ? 2 : 1));
function row(name, publishers, result) {
  return [
    name.padEnd(10), cell(publishers, 6), cell(Math.round(result.perSecond), 9),
    cell(result.cpuMicros.toFixed(1), 8), cell(ms(result.p50), 9), cell(ms(result.p99), 9),
    cell(ms(result.commitP50), 9), cell(ms(result.commitP99), 9), cell(ms(result.loopMaxMs), 9),
  ].join(' ');
}
const HEAD = ['broker    ', '  from', '    msg/s', '  us CPU', ' PUBACK50', ' PUBACK99', ' commit50',
  ' commit99', ' loop max'].join(' ');

async function withBroker(name, syncMicros, work) {
  const env = slowSync(syncMicros);
  if (env === undefined) return undefined;
  const broker = await startBroker(name, {
    env, packages, durability: option('durability', 'disk'), directory: option('dir', undefined),
    profile: option('profile', undefined), limits: JSON.parse(option('limits', '{}')),
  });
  try {
    return await work(broker);
  } catch (error) {
    console.log(`${name.padEnd(10)} failed: ${error.message}`);
    return undefined;
  } finally {
    await broker.stop();
  }
}

async function publishAll(syncMicros) {
  console.log(`\npublish, window ${load.window}, ${load.bytes} B, +${syncMicros} us for each sync; `
    + 'us CPU of all threads of the broker for each message, times in ms\n' + HEAD);
  for (const publishers of numbers('publishers', '1,10,100,1000')) {
    for (const name of brokers) {
      const result = await withBroker(name, syncMicros, (broker) => publish(broker, { ...load, publishers }));
      if (result === undefined) continue;
      const isJudged = name === 'nidomq' && publishers === 100 && isFast(syncMicros);
      const what = `${BARS.perSecond} durable messages a second from 100 publishers`;
      const word = isJudged ? bar(what, result.perSecond >= BARS.perSecond) : '';
      console.log(row(name, publishers, result) + word);
    }
  }
}
async function paced(syncMicros) {
  const rate = Number(option('rate', 40_000));
  console.log(`\npaced: ${rate} messages a second from ${PACED_PUBLISHERS} publishers\n${HEAD}`);
  const result = await withBroker('nidomq', syncMicros, (broker) =>
    publish(broker, { ...load, publishers: PACED_PUBLISHERS, rate }));
  if (result === undefined) return;
  const word = isFast(syncMicros) ? bar(`PUBACK p99 below ${BARS.pacedP99} ms`, result.p99 < BARS.pacedP99) : '';
  console.log(row('nidomq', PACED_PUBLISHERS, result) + word);
}
async function drainAll(syncMicros) {
  const messages = Number(option('messages', 100_000));
  console.log(`\ndrain: a receiver comes back to ${messages} messages of ${load.bytes} B`);
  for (const name of brokers) {
    const result = await withBroker(name, syncMicros, (broker) => drain(broker, { ...load, messages }));
    if (result === undefined) continue;
    const what = `drain at ${BARS.drainMicros} us CPU for each message`;
    const word = name === 'nidomq' ? bar(what, result.cpuMicros <= BARS.drainMicros) : '';
    console.log(`${name.padEnd(10)} ${Math.round(result.perSecond)} msg/s, `
      + `${result.cpuMicros.toFixed(1)} us CPU for each message, loop max ${ms(result.loopMaxMs)} ms${word}`);
  }
}

const sync = measureSync(option('dir', undefined));
const isFast = (syncMicros) => sync.p50 + syncMicros / 1_000 <= FAST_SYNC_MS;
console.log(`fdatasync of 4 KiB: p50 ${sync.p50.toFixed(3)} ms, p99 ${sync.p99.toFixed(3)} ms`
  + (isFast(0) ? '' : `; the bars are for disks that take ${FAST_SYNC_MS} ms at most, not for this one`));
for (const name of brokers) console.log(`${name}: ${PROMISES[name]}`);
if (wants('publish')) for (const micros of numbers('sync-us', '0,2000')) await publishAll(micros);
const [first] = numbers('sync-us', '0,2000');
if (wants('paced')) await paced(first);
if (wants('drain')) await drainAll(first);
if (missed.length > 0) console.log(`\nmissed: ${missed.join('; ')}`);
process.exitCode = process.argv.includes('--gate') && missed.length > 0 ? 1 : 0;
