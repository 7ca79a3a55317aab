// The process whose power is going to be cut: a broker and its real clients, in one process, so that
// what they say on standard output stands in the record in its true order. One JSON line for each:
//   {"ready":true}    the receivers' subscriptions were acknowledged
//   {"p":[n,value]}   publisher n is about to publish a value
//   {"a":[n,value]}   it was acknowledged
//   {"r":[n,value,identifier]}   PUBLISH came to the receiver that is online
//   {"e":[n,value]}   it was handed to the application: at QoS 2 when PUBREL had come
//
//   node broker-workload.mjs <compiled broker.js> <directory> <durability>
import mqtt from 'mqtt';
import { PUBLISHERS, RETAINED_EVERY } from './broker-traffic.mjs';
import { say } from './say.mjs';

const [, , broker, path, durability] = process.argv;
const WINDOW = 20;

async function run() {
  const { Broker } = await import(broker);
  const server = new Broker({
    listeners: [{ port: 0 }], engine: { file: { path, durability } }, sys: { intervalSeconds: 0 },
    limits: { queueMemoryMessagesMax: 300, queueMessagesMax: 1_000_000 },
  });
  await server.listen();
  const open = (clientId, options = {}) => mqtt.connectAsync({
    host: '127.0.0.1', port: server.listeners[0].port, clientId, clean: false, protocolVersion: 5,
    properties: { sessionExpiryInterval: 86_400 }, ...options,
  });
  const offline = await open('offline');
  await offline.subscribeAsync('numbers/#', { qos: 2 });
  await offline.endAsync();
  const online = await open('online');
  await online.subscribeAsync('numbers/#', { qos: 2 });
  const numbersOf = (topic, payload) => [Number(topic.split('/')[1]), Number(payload.toString())];
  online.on('packetreceive', ({ cmd, topic, payload, messageId }) => {
    if (cmd === 'publish') say({ r: [...numbersOf(topic, payload), messageId] });
  });
  online.on('message', (topic, payload) => say({ e: numbersOf(topic, payload) }));
  say({ ready: true });
  for (const [n, qos] of PUBLISHERS.entries()) {
    const client = await open(`publisher-${n}`, { protocolVersion: n < 2 ? 5 : 4 });
    let value = 0;
    const publish = () => {
      const mine = value++;
      const retain = mine % RETAINED_EVERY === 0;
      say({ p: [n, mine] });
      client.publish(`${retain ? 'last' : 'numbers'}/${n}`, String(mine), { qos, retain }, (error) => {
        if (error) throw error;
        say({ a: [n, mine] });
        setImmediate(publish);
      });
    };
    for (let i = 0; i < WINDOW; i++) publish();
  }
}
await run();
