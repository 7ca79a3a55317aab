import { Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { NidoModule } from 'nidomq/nest';
import { HouseController } from '../casa/house.controller.js';

export interface Joining {
  readonly url: string;
  /** Replicas with the same name share the work: each message goes to one of them. */
  readonly share: string | undefined;
}

@Module({})
export class AppModule {
  /** The house of examples/casa, handler for handler; only this line says where the broker is. */
  static joining({ url, share }: Joining): DynamicModule {
    return {
      module: AppModule,
      imports: [NidoModule.forRoot({ join: { url, share, maxConnectionAttempts: 3 } })],
      controllers: [HouseController],
    };
  }
}
