// A broker on its own, to be killed or measured:
//   node server.mjs <compiled broker.js> <directory> <port> <durability> [limits as JSON]
const [, , broker, path, port, durability, limits = '{}'] = process.argv;
const { Broker } = await import(broker);
const server = new Broker({
  listeners: [{ port: Number(port) }], engine: { file: { path, durability } },
  limits: { queueMessagesMax: 1_000_000, ...JSON.parse(limits) },
});
server.on('engineState', ({ state }) => process.stdout.write(`${JSON.stringify({ state })}\n`));
const begun = performance.now();
await server.listen();
const ready = { port: server.listeners[0].port, ms: performance.now() - begun };
process.stdout.write(`${JSON.stringify(ready)}\n`);
