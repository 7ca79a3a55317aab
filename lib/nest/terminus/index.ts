/** Health checks with @nestjs/terminus: `import { NidoHealthIndicator } from 'nidomq/terminus'`. */
export { NidoHealthIndicator } from './nido.health.js';
export type { NidoHealthDetails, NidoHealthOptions } from './nido.health.js';
