// A broker on its own, to be killed: node server.mjs <compiled broker.js> <directory> <port> <durability>
const [, , broker, path, port, durability] = process.argv;
const { Broker } = await import(broker);
const server = new Broker({
  listeners: [{ port: Number(port) }], engine: { file: { path, durability } },
  limits: { queueMessagesMax: 1_000_000 },
});
server.on('engineState', ({ state }) => process.stdout.write(`${JSON.stringify({ state })}\n`));
await server.listen();
process.stdout.write(`${JSON.stringify({ port: server.listeners[0].port })}\n`);
