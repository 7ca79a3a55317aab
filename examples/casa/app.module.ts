import { Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { NidoModule } from 'nidomq/nest';
import { HouseController } from './house.controller.js';
import { Visitors } from './visitors.js';

@Module({})
export class AppModule {
  /** The application hosts its broker on this port; 0 = one that is free. */
  static onPort(port: number): DynamicModule {
    return {
      module: AppModule,
      imports: [NidoModule.forRoot({ host: { listeners: [{ host: '127.0.0.1', port }] } })],
      controllers: [HouseController],
      providers: [Visitors],
    };
  }
}
