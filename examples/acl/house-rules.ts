import { Injectable } from '@nestjs/common';
import { MqttAuthorizer } from 'nidomq/nest';
import type { Identity, NidoAuthorizer } from 'nidomq/nest';

/** Decides who may do what. The broker remembers a verdict for each connection and topic. */
@Injectable()
@MqttAuthorizer()
export class HouseRules implements NidoAuthorizer {
  /** A device speaks of its own room; the owner commands. */
  canPublish({ roles = [], claims }: Identity, topicName: string): boolean {
    const room = claims?.room;
    if (roles.includes('device')) return topicName === `casa/${String(room)}/temperatura`;
    return roles.includes('owner') || topicName === 'casa/sala/luz/set';
  }

  /** Who may look may look at the house, and at nothing else. */
  canSubscribe({ roles = [] }: Identity, topicFilter: string): boolean {
    return roles.includes('viewer') && topicFilter.startsWith('casa/');
  }
}
