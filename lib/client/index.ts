/** The client role: `import { connect } from 'nidomq/client'`. */
export { NidoClient, connect } from './client.js';
export type {
  ClientEventListener, ClientEventName, ClientEvents, ConnectEvent, DroppedEvent,
  HandlerFailedEvent, ReconnectEvent,
} from './client-emitter.js';
export { clientLimits } from './client-limits.js';
export { NidoClientError } from './errors.js';
export type { ClientErrorCode } from './errors.js';
export type { EndOptions } from './goodbye.js';
export type { IncomingMessage, MessageHandler } from './handler-subscription.js';
export type * from './options.js';
export { OPTIONS_TABLE } from './options-table.js';
export type { OptionEntry, OptionFate } from './options-table.js';
export type { ServerFeatures } from './server-features.js';
export type { Subscription } from './subscriptions.js';
export type { ClientStatus } from './uplink.js';
