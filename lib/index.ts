export { Broker } from './broker/broker.js';
