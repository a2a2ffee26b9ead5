//! The packets of MQTT that a publisher needs (OASIS MQTT 5.0 and 3.1.1).

use super::super::publish::PublishError;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::Deserialize;

/// The version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum MqttVersion {
    /// MQTT 5. The server gives reasons for refusals, and a message carries the delivery's id
    /// beside its body.
    #[default]
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V3,
}

/// A PINGREQ packet.
pub const PING: &[u8] = &[0xc0, 0];

/// The contents of a CONNECT packet.
#[derive(Debug, Clone, Copy)]
pub struct ConnectPacket<'a> {
    pub version: MqttVersion,
    pub client_id: &'a str,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    /// The longest silence of the client that the server tolerates, in seconds.
    pub keep_alive: u16,
}

/// The contents of a PUBLISH packet with QoS 1.
#[derive(Debug, Clone, Copy)]
pub struct PublishPacket<'a> {
    pub version: MqttVersion,
    pub topic: &'a str,
    pub id: u16,
    pub is_retained: bool,
    pub content_type: &'a str,
    /// The user properties. MQTT 3.1.1 has none and ignores them.
    pub properties: &'a [(String, String)],
    pub payload: &'a [u8],
}

/// A packet from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MqttPacket {
    /// CONNACK: the answer to the log-in, and the server's limits.
    Connected { reason: u8, limits: ServerLimits },
    /// PUBACK: the server has the message, or refuses it with a reason.
    Acknowledged { id: u16, reason: u8 },
    /// DISCONNECT: the server ends the connection.
    Disconnected { reason: u8 },
    /// The answer to [`PING`].
    Pong,
}

/// The limits of a server. MQTT 3.1.1 does not transmit any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Most unacknowledged messages.
    pub receive_maximum: u16,
    /// Largest packet, in bytes.
    pub packet_size: u32,
    /// The highest QoS. 0 if the server does not acknowledge messages.
    pub qos: u8,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { receive_maximum: u16::MAX, packet_size: u32::MAX, qos: 2 }
    }
}

/// Longest packet that is accepted from a server, in bytes.
const MAX_PACKET: usize = 64 * 1024;

/// Removes one packet from the bytes. Returns `None` until the packet is complete.
pub fn take_packet(
    bytes: &mut BytesMut,
    version: MqttVersion,
) -> Result<Option<MqttPacket>, PublishError> {
    let Some((length, begin)) = read_length(bytes)? else { return Ok(None) };
    if length > MAX_PACKET {
        return Err(invalid("a packet that is too long"));
    }
    if bytes.len() < begin + length {
        return Ok(None);
    }
    let kind = bytes.first().copied().unwrap_or_default() >> 4;
    drop(bytes.split_to(begin));
    let mut packet = bytes.split_to(length).freeze();
    read_packet(kind, &mut packet, version).map(Some)
}

fn read_packet(
    kind: u8,
    packet: &mut Bytes,
    version: MqttVersion,
) -> Result<MqttPacket, PublishError> {
    let cut = |_| invalid("a packet that is cut off");
    match kind {
        2 => {
            let _session = packet.try_get_u8().map_err(cut)?;
            let reason = packet.try_get_u8().map_err(cut)?;
            let limits = match version {
                MqttVersion::V5 => read_limits(packet)?,
                MqttVersion::V3 => ServerLimits::default(),
            };
            Ok(MqttPacket::Connected { reason, limits })
        }
        4 => {
            let id = packet.try_get_u16().map_err(cut)?;
            Ok(MqttPacket::Acknowledged { id, reason: packet.try_get_u8().unwrap_or_default() })
        }
        13 => Ok(MqttPacket::Pong),
        14 => Ok(MqttPacket::Disconnected { reason: packet.try_get_u8().unwrap_or_default() }),
        _ => Err(invalid("a packet that is not meant for a publisher")),
    }
}

/// Reads the remaining length and the offset at which the rest of the packet begins (MQTT 5.0,
/// section 1.5.5).
fn read_length(bytes: &BytesMut) -> Result<Option<(usize, usize)>, PublishError> {
    let mut length = 0_usize;
    for (n, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Ok(Some((length, n + 2)));
        }
    }
    if bytes.len() > 4 { Err(invalid("a length without an end")) } else { Ok(None) }
}

/// Reads the properties of `CONNACK` that limit messages (section 3.2.2.3).
fn read_limits(packet: &mut Bytes) -> Result<ServerLimits, PublishError> {
    let mut limits = ServerLimits::default();
    let mut properties = take_properties(packet)?;
    let cut = |_| invalid("a property that is cut off");
    while properties.has_remaining() {
        match properties.get_u8() {
            0x21 => limits.receive_maximum = properties.try_get_u16().map_err(cut)?,
            0x24 => limits.qos = properties.try_get_u8().map_err(cut)?,
            0x27 => limits.packet_size = properties.try_get_u32().map_err(cut)?,
            0x25 | 0x28 | 0x29 | 0x2a => skip_bytes(&mut properties, 1)?,
            0x13 | 0x22 => skip_bytes(&mut properties, 2)?,
            0x11 => skip_bytes(&mut properties, 4)?,
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => skip_text(&mut properties)?,
            0x26 => {
                skip_text(&mut properties)?;
                skip_text(&mut properties)?;
            }
            _ => return Err(invalid("a property that CONNACK does not have")),
        }
    }
    Ok(limits)
}

fn take_properties(packet: &mut Bytes) -> Result<Bytes, PublishError> {
    let mut length = 0_usize;
    for n in 0..4 {
        let byte = packet.try_get_u8().map_err(|_short| invalid("properties without a length"))?;
        length |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            break;
        }
    }
    if length > packet.len() {
        return Err(invalid("properties that are cut off"));
    }
    Ok(packet.split_to(length))
}

fn skip_text(properties: &mut Bytes) -> Result<(), PublishError> {
    let length = properties.try_get_u16().map_err(|_short| invalid("a text that is cut off"))?;
    skip_bytes(properties, usize::from(length))
}

fn skip_bytes(properties: &mut Bytes, count: usize) -> Result<(), PublishError> {
    if count > properties.len() {
        return Err(invalid("a property that is cut off"));
    }
    properties.advance(count);
    Ok(())
}

fn invalid(why: &str) -> PublishError {
    PublishError::protocol(format!("the server does not speak MQTT as expected: {why}"))
}

/// Writes a `CONNECT` that asks for a clean session (section 3.1).
pub fn write_connect(connect: &ConnectPacket<'_>) -> Bytes {
    const CLEAN: u8 = 0x02;
    let mut body = BytesMut::new();
    put_text(&mut body, "MQTT");
    body.put_u8(match connect.version {
        MqttVersion::V5 => 5,
        MqttVersion::V3 => 4,
    });
    let user = if connect.user.is_some() { 0x80 } else { 0 };
    let password = if connect.password.is_some() { 0x40 } else { 0 };
    body.put_u8(CLEAN | user | password);
    body.put_u16(connect.keep_alive);
    if connect.version == MqttVersion::V5 {
        body.put_u8(0);
    }
    put_text(&mut body, connect.client_id);
    for text in connect.user.iter().chain(&connect.password) {
        put_text(&mut body, text);
    }
    frame(0x10, &[&body])
}

/// Writes a `PUBLISH` with QoS 1 (section 3.3).
pub fn write_publish(publish: &PublishPacket<'_>) -> Bytes {
    const QOS_1: u8 = 0x02;
    let mut head = BytesMut::new();
    put_text(&mut head, publish.topic);
    head.put_u16(publish.id);
    if publish.version == MqttVersion::V5 {
        let mut properties = BytesMut::new();
        properties.put_u8(0x03);
        put_text(&mut properties, publish.content_type);
        for (name, value) in publish.properties {
            properties.put_u8(0x26);
            put_text(&mut properties, name);
            put_text(&mut properties, value);
        }
        put_length(&mut head, properties.len());
        head.put_slice(&properties);
    }
    frame(0x30 | QOS_1 | u8::from(publish.is_retained), &[&head, publish.payload])
}

fn frame(first: u8, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(length + 5);
    frame.put_u8(first);
    put_length(&mut frame, length);
    for part in parts {
        frame.put_slice(part);
    }
    frame.freeze()
}

fn put_length(bytes: &mut BytesMut, mut length: usize) {
    loop {
        let digit = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        bytes.put_u8(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            return;
        }
    }
}

/// Appends a text with its length. Settings and headers are shorter than 64 KiB; a longer text is
/// cut.
fn put_text(bytes: &mut BytesMut, text: &str) {
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    let text = text.get(..end).unwrap_or_default();
    bytes.put_u16(u16::try_from(text.len()).unwrap_or_default());
    bytes.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_packet_is_not_read() {
        let mut bytes = BytesMut::new();
        // CONNACK with a receive maximum of 10 and an assigned client id, PUBACK, PINGRESP,
        // DISCONNECT.
        let sent: &[u8] = &[
            0x20, 11, 0, 0, 8, 0x21, 0, 10, 0x12, 0, 2, b'a', b'b', 0x40, 3, 0, 7, 0x87, 0xd0, 0,
            0xe0, 1, 0x8b,
        ];
        let mut packets = Vec::new();
        for byte in sent {
            bytes.put_u8(*byte);
            packets.extend(take_packet(&mut bytes, MqttVersion::V5).unwrap());
        }
        let limits = ServerLimits { receive_maximum: 10, ..ServerLimits::default() };
        assert_eq!(
            packets,
            [
                MqttPacket::Connected { reason: 0, limits },
                MqttPacket::Acknowledged { id: 7, reason: 0x87 },
                MqttPacket::Pong,
                MqttPacket::Disconnected { reason: 0x8b },
            ]
        );
        let mut old = BytesMut::from(&[0x20, 2, 0, 5, 0x40, 2, 0, 1][..]);
        let refused = take_packet(&mut old, MqttVersion::V3).unwrap();
        assert!(matches!(refused, Some(MqttPacket::Connected { reason: 5, .. })));
        let acknowledged = take_packet(&mut old, MqttVersion::V3).unwrap();
        assert_eq!(acknowledged, Some(MqttPacket::Acknowledged { id: 1, reason: 0 }));
    }

    #[test]
    fn invalid_packets_are_refused() {
        for sent in [
            &[0x20, 0xff, 0xff, 0xff, 0xff][..],
            &[0x50, 0],
            &[0x20, 0xff, 0xff, 0x7f],
            &[0x20, 1, 0],
            &[0x20, 4, 0, 0, 9, 0x21],
            &[0x40, 1, 0],
        ] {
            let read = take_packet(&mut BytesMut::from(sent), MqttVersion::V5);
            assert!(read.is_err(), "{sent:?}: {read:?}");
        }
    }

    #[test]
    fn written_packets_carry_their_lengths() {
        let connect = ConnectPacket {
            version: MqttVersion::V5,
            client_id: "w",
            user: Some("u"),
            password: None,
            keep_alive: 60,
        };
        let expected = b"\x10\x11\x00\x04MQTT\x05\x82\x00\x3c\x00\x00\x01w\x00\x01u";
        assert_eq!(write_connect(&connect), &expected[..]);
        let payload = vec![b'x'; 200];
        let mut publish = PublishPacket {
            version: MqttVersion::V3,
            topic: "t",
            id: 1,
            is_retained: true,
            content_type: "c",
            properties: &[("k".to_owned(), "v".to_owned())],
            payload: &payload,
        };
        let written = write_publish(&publish);
        assert_eq!(written.get(..8), Some(&b"\x33\xcd\x01\x00\x01t\x00\x01"[..]));
        publish.version = MqttVersion::V5;
        publish.payload = b"";
        let written = write_publish(&publish);
        let expected = b"\x33\x11\x00\x01t\x00\x01\x0b\x03\x00\x01c\x26\x00\x01k\x00\x01v";
        assert_eq!(written, &expected[..]);
    }
}
