// A publisher with a store, to be killed: says which messages are stored, as `run qos number`.
//   node stored-publisher.mjs <url> <directory> <run> <messages> [durability] [version]
// With 0 messages it sends what is left, says `empty` and ends.
import { writeSync } from 'node:fs';
import { connect } from '../../../dist/client/index.js';

const [url, path, run, messages, durability = 'os', version = '5'] = process.argv.slice(2);
const AT_ONCE = 100;
const QUEUED_MAX = 2_000;
const client = connect(url, {
  clientId: 'stored-publisher', logger: false, reconnectPeriod: 20, reconnectPeriodMax: 100,
  protocolVersion: Number(version), engine: { file: { path, durability } },
});
client.on('error', (error) => writeSync(2, `${error.message}\n`));

function say(text) {
  writeSync(1, `${text}\n`);
}

async function publish(qos, number) {
  const payload = `${run} ${number}`;
  await client.publish(`stored/${qos}`, payload, { qos, until: 'stored' });
  say(`${run} ${qos} ${number}`);
}

async function shrinksTo(messages) {
  while (client.queuedMessages > messages) await new Promise((resolve) => setTimeout(resolve, 5));
}

let open = [];
for (let number = 0; number < Number(messages); number += 1) {
  open.push(publish(1, number), publish(2, number));
  if (open.length < AT_ONCE) continue;
  await Promise.all(open);
  open = [];
  await shrinksTo(QUEUED_MAX);
}
await Promise.all(open);
await client.connected();
await shrinksTo(0);
say('empty');
await client.end();
