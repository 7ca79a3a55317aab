/** What `nest g -c nidomq topic` writes. */

export interface TopicSubject {
  /** First level of the topics: `jardin`. */
  readonly name: string;
  readonly className: string;
  /** Of relative imports. */
  readonly suffix: '.js' | '';
}

export function controllerText({ name, className }: TopicSubject): string {
  return `import { Controller } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { OnRequest, OnTopic, TopicParam, TopicPrefix } from 'nidomq/nest';

/** Handlers of the topics that begin with ${name}/. */
@Controller()
@TopicPrefix('${name}')
export class ${className} {
  private readonly states = new Map<string, unknown>();

  /** An event. The publisher gets its PUBACK when this is done. */
  @OnTopic(':device/state', { qos: 1 })
  keep(@TopicParam('device') device: string, @Payload() state: unknown): void {
    this.states.set(device, state);
  }

  /** A request: what it returns is the reply. */
  @OnRequest(':device/get')
  tell(@TopicParam('device') device: string): unknown {
    return this.states.get(device) ?? null;
  }
}
`;
}

export function specText({ name, className, suffix }: TopicSubject): string {
  return `import type { INestMicroservice } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { NidoClient, NidoModule, NidoStrategy, getBrokerToken } from 'nidomq/nest';
import { TestBroker } from 'nidomq/testing';
import { ${className} } from './${name}.controller${suffix}';

describe('${className}', () => {
  let broker: TestBroker;
  let app: INestMicroservice;

  beforeEach(async () => {
    // In memory: no port, and a clock that only the test moves.
    broker = new TestBroker();
    const module = await Test.createTestingModule({
      imports: [NidoModule.forRoot({ host: {} })],
      controllers: [${className}],
    })
      .overrideProvider(getBrokerToken())
      .useValue(broker)
      .compile();
    app = module.createNestMicroservice({ strategy: module.get(NidoStrategy) });
    await app.listen();
  });

  afterEach(() => app.close());

  it('keeps the state of a device and tells it', async () => {
    const device = await broker.connect();
    await device.publish('${name}/one/state', 'on', { qos: 1 });

    const state = await app.get(NidoClient).request('${name}/one/get', '');

    expect(state).toBe('on');
  });
});
`;
}
