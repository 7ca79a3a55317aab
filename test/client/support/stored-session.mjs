// A client with a store that does what it is told, to be killed in between:
//   node stored-session.mjs <url> <directory> <version> publish|hang|handle
// `publish` sends one message of QoS 2 to `out` and says `stored`; `hang` and `handle` subscribe to
// `in` and say `handling <payload>`, `hang` for ever. Errors are said with their code.
import { writeSync } from 'node:fs';
import { connect } from '../../../dist/client/index.js';

const [url, path, version, what] = process.argv.slice(2);
const say = (text) => writeSync(1, `${text}\n`);
const client = connect(url, {
  clientId: 'stored-session', logger: false, reconnectPeriod: 20, reconnectPeriodMax: 100,
  protocolVersion: Number(version), engine: { file: { path, durability: 'os' } },
});
client.on('error', (error) => say(`${error.code} ${error.message}`));
client.on('connect', ({ sessionPresent }) => say(`connected ${sessionPresent}`));
if (what === 'publish') {
  await client.publish('out', 'once', { qos: 2, until: 'stored' });
  say('stored');
} else if (what !== 'resume') {
  await client.subscribe('in', async ({ payload }) => {
    say(`handling ${payload}`);
    if (what === 'hang') await new Promise(() => {});
  }, { qos: 2, handlerTimeoutMs: 0 });
}
