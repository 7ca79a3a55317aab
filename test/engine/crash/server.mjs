// A broker on its own, to be killed: node server.mjs <compiled broker.js> <directory> <port> <durability>
const [, , broker, path, port, durability, memoryBytes] = process.argv;
const { Broker } = await import(broker);
const server = new Broker({
  listeners: [{ port: Number(port) }], engine: { file: { path, durability } },
  limits: {
    queueMessagesMax: 1_000_000, retainedMessagesMax: 10_000_000, retainedBytesMax: 2 ** 31,
    ...(memoryBytes === undefined ? {} : { memoryBytes: Number(memoryBytes) }),
  },
});
server.on('engineState', ({ state }) => process.stdout.write(`${JSON.stringify({ state })}\n`));
const begun = performance.now();
await server.listen();
process.stdout.write(`${JSON.stringify({ port: server.listeners[0].port, ms: performance.now() - begun })}\n`);
