//! A small blocking Redis client: enough to look at a private server and to upset it.
//!
//! The relay's own client lives in `broker`; tests look at Redis through this one, so that a mistake there cannot hide.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Result, failure};

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing there.
    Nil,
    /// A number.
    Int(i64),
    /// A status (`OK`) or a string of any bytes.
    Data(Vec<u8>),
    /// Several replies.
    Array(Vec<Value>),
    /// An error inside an array (of a transaction); a whole reply that is an error becomes `Err`.
    Error(String),
}

impl Value {
    /// The number, also if it came as text.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Data(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Data(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Int(n) => Some(n.to_string()),
            Self::Error(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// The bytes as they came.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Data(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The elements; none unless it is an array.
    pub fn items(&self) -> &[Value] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The elements as text.
    pub fn texts(&self) -> Vec<String> {
        self.items().iter().filter_map(Self::text).collect()
    }

    /// Whether nothing was there.
    pub fn is_nil(&self) -> bool {
        *self == Self::Nil
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects; every later call waits at most `timeout` for its reply.
    pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a command and waits for its reply. A reply that is an error becomes `Err` with the server's words.
    pub fn cmd<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> Result<Value> {
        self.send(args).and_then(|()| self.read()).map_err(|e| failure(format!("Redis did not answer: {e}."))).and_then(
            |value| match value {
                Value::Error(text) => Err(failure(text)),
                value => Ok(value),
            },
        )
    }

    /// Sends a command without waiting.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> io::Result<()> {
        let args: Vec<A> = args.into_iter().collect();
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in &args {
            let arg = arg.as_ref();
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request)
    }

    /// Waits for the next reply.
    pub fn read(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let rest = line.trim_end_matches(['\r', '\n']).get(1..).unwrap_or_default();
        match line.as_bytes().first() {
            Some(b'+') => Ok(Value::Data(rest.as_bytes().to_vec())),
            Some(b'-') => Ok(Value::Error(rest.to_owned())),
            Some(b':') => number(rest).map(Value::Int),
            Some(b'$') => match usize::try_from(number(rest)?) {
                Ok(length) => self.data(length),
                Err(_) => Ok(Value::Nil),
            },
            Some(b'*') => match usize::try_from(number(rest)?) {
                Ok(length) => (0..length).map(|_| self.read()).collect::<io::Result<_>>().map(Value::Array),
                Err(_) => Ok(Value::Nil),
            },
            _ => Err(unexpected(&line)),
        }
    }

    fn data(&mut self, length: usize) -> io::Result<Value> {
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(Value::Data(bytes))
    }
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| unexpected(text))
}

fn unexpected(text: &str) -> io::Error {
    let mut sentence = String::from("a reply that is not RESP2: ");
    let _ = write!(sentence, "{:.80}", text.escape_debug().to_string());
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}
