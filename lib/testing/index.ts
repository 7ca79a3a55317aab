/** The test kit: `import { TestBroker } from 'nidomq/testing'`. */
export { Inbox } from './inbox.js';
export type { Expectation, SeenMessage } from './inbox.js';
export { MemoryTransport, memorySocketPair } from './memory-socket.js';
export type { MemorySocket } from './memory-socket.js';
export { TestBroker } from './test-broker.js';
export type { TestBrokerOptions } from './test-broker.js';
export { TestClient } from './test-client.js';
export type { TestClientOptions } from './test-client.js';
export { VirtualClock } from './virtual-clock.js';
