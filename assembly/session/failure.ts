/**
 * The one place where a peer is shown the door by the core: it writes the last packet that MQTT
 * asks for, stops reading, and tells the host, who closes when the last bytes have left.
 */
import { ROLE_CLIENT } from '../shared/abi';
import {
  CLIENT_IDENTIFIER_NOT_VALID, RETURN_IDENTIFIER_REJECTED, RETURN_UNACCEPTABLE_PROTOCOL_VERSION,
  UNSUPPORTED_PROTOCOL_VERSION,
} from '../shared/reason-code';
import { tellFailed } from '../switch/events';
import { Connection, STATE_CLOSED, STATE_OPEN } from './connection';
import { reserve } from './slab';

const CONNACK_BYTE: u8 = 0x20;
const DISCONNECT_BYTE: u8 = 0xe0;

/**
 * Closes for a fault of the peer. MQTT 5: CONNACK or DISCONNECT with the Reason Code
 * [MQTT-4.13.1-1] [MQTT-4.13.2-1]
 * [MQTT-3.14.0-1]; 3.x knows neither, except that an unknown version [MQTT-3.1.2-2] and an
 * identifier that is not allowed are answered.
 */
export function failConnection(connection: Connection, reasonCode: u32, detail: u32): void {
  // 3.1.1 [MQTT-4.8.0-1] [MQTT-4.8.0-2]
  if (connection.state == STATE_CLOSED) return;
  if (connection.role == ROLE_CLIENT) {
    if (connection.version == 5 && connection.state == STATE_OPEN) {
      writeDisconnect(connection, reasonCode);
    }
  } else if (connection.state == STATE_OPEN) {
    if (connection.version == 5) writeDisconnect(connection, reasonCode);
  } else if (connection.version == 5) {
    writeConnack(connection, reasonCode);
  } else if (reasonCode == UNSUPPORTED_PROTOCOL_VERSION) { // else nothing 3.1.1 [MQTT-3.2.2-6]
    writeConnackV3(connection, RETURN_UNACCEPTABLE_PROTOCOL_VERSION);
  } else if (reasonCode == CLIENT_IDENTIFIER_NOT_VALID) {
    writeConnackV3(connection, RETURN_IDENTIFIER_REJECTED); // 3.1.1 [MQTT-3.1.3-8]
  }
  // 3.1.1 [MQTT-3.1.4-5], 5.0 [MQTT-3.1.4-6]: nothing of it is read any more
  connection.state = STATE_CLOSED;
  tellFailed(connection.handle, reasonCode, detail);
}

function writeDisconnect(connection: Connection, reasonCode: u32): void {
  const at = reserve(connection, 3);
  if (at == 0) return;
  store<u8>(at, DISCONNECT_BYTE);
  store<u8>(at, 1, 1); // no Property Length: it is 0
  store<u8>(at, <u8>reasonCode, 2);
}

function writeConnack(connection: Connection, reasonCode: u32): void {
  const at = reserve(connection, 5);
  if (at == 0) return;
  store<u8>(at, CONNACK_BYTE);
  store<u8>(at, 3, 1);
  store<u8>(at, 0, 2); // Session Present is 0 with a failure 5.0 [MQTT-3.2.2-6]
  store<u8>(at, <u8>reasonCode, 3);
  store<u8>(at, 0, 4); // Property Length
}

function writeConnackV3(connection: Connection, returnCode: u32): void {
  const at = reserve(connection, 4);
  if (at == 0) return;
  store<u8>(at, CONNACK_BYTE);
  store<u8>(at, 2, 1);
  store<u8>(at, 0, 2);
  store<u8>(at, <u8>returnCode, 3);
}
