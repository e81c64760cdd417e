//! What a binary says of itself: only as much of ELF as decides whether a library can be loaded into it and will see
//! its calls. Every offset and count comes from the file and is checked and bounded before it is used.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Program or section headers that are looked at; no real file comes near.
const HEADERS_MAX: u16 = 4096;
/// Bytes of a name, a note or a table of names that are read.
const TEXT_BYTES_MAX: u64 = 1 << 20;

const ELF_HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const SECTION_HEADER_BYTES: usize = 64;
const TYPE_PROGRAM: u16 = 2;
const TYPE_DYNAMIC: u16 = 3;
const SEGMENT_DYNAMIC: u32 = 2;
const SEGMENT_INTERPRETER: u32 = 3;
const SEGMENT_NOTE: u32 = 4;

/// Machine number of this build (e_machine).
#[cfg(target_arch = "x86_64")]
const THIS_MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const THIS_MACHINE: u16 = 183;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Binary {
    /// Not ELF at all.
    NotElf,
    /// For another machine or word size.
    OtherMachine,
    /// For this machine.
    Elf(Elf),
}

/// A binary of this machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Elf {
    /// Its dynamic loader, if it names one.
    pub loader: Option<String>,
    /// Whether there is anything for a loader to do.
    pub is_dynamic: bool,
    /// Whether it was built by the Go tool chain.
    pub is_go: bool,
}

/// Reads what is needed of a file. An error means that it cannot be read, or ends before its own headers say.
pub fn read(file: &File) -> io::Result<Binary> {
    let mut header = [0u8; ELF_HEADER_BYTES];
    let got = read_up_to(file, &mut header, 0)?;
    if got < 4 || !header.starts_with(b"\x7fELF") {
        return Ok(Binary::NotElf);
    }
    let is_64_bit_little_endian = header[4] == 2 && header[5] == 1;
    if !is_64_bit_little_endian || word16(&header, 18) != THIS_MACHINE {
        return Ok(Binary::OtherMachine);
    }
    if !matches!(word16(&header, 16), TYPE_PROGRAM | TYPE_DYNAMIC) {
        return Ok(Binary::NotElf);
    }
    let mut elf = Elf {
        loader: None,
        is_dynamic: false,
        is_go: false,
    };
    read_segments(file, &header, &mut elf)?;
    elf.is_go = elf.is_go || has_go_section(file, &header).unwrap_or(false);
    Ok(Binary::Elf(elf))
}

fn read_segments(file: &File, header: &[u8], elf: &mut Elf) -> io::Result<()> {
    let table = word64(header, 32);
    for index in 0..word16(header, 56).min(HEADERS_MAX) {
        let mut segment = [0u8; PROGRAM_HEADER_BYTES];
        let place = table.saturating_add(u64::from(index) * u64::from(word16(header, 54)));
        file.read_exact_at(&mut segment, place)?;
        let (offset, length) = (word64(&segment, 8), word64(&segment, 32));
        match word32(&segment, 0) {
            SEGMENT_DYNAMIC => elf.is_dynamic = true,
            SEGMENT_INTERPRETER => {
                let text = read_text(file, offset, length)?;
                let name = text.split(|byte| *byte == 0).next().unwrap_or(&text);
                elf.loader = Some(String::from_utf8_lossy(name).into_owned());
            }
            SEGMENT_NOTE => elf.is_go |= has_go_note(&read_text(file, offset, length)?),
            _ => {}
        }
    }
    Ok(())
}

/// Notes are {name bytes, contents bytes, kind, name, contents}, both padded to four.
fn has_go_note(mut notes: &[u8]) -> bool {
    let padded = |bytes: u32| (bytes as usize).saturating_add(3) & !3;
    while notes.len() >= 12 {
        let (name, contents) = (word32(notes, 0), word32(notes, 4));
        if name == 4 && notes.get(12..16) == Some(b"Go\0\0") {
            return true;
        }
        let next = 12usize
            .saturating_add(padded(name))
            .saturating_add(padded(contents));
        notes = notes.get(next..).unwrap_or(&[]);
    }
    false
}

fn has_go_section(file: &File, header: &[u8]) -> io::Result<bool> {
    let (table, size, count) = (word64(header, 40), word16(header, 58), word16(header, 60));
    let section = |index: u16| -> io::Result<[u8; SECTION_HEADER_BYTES]> {
        let mut bytes = [0u8; SECTION_HEADER_BYTES];
        file.read_exact_at(
            &mut bytes,
            table.saturating_add(u64::from(index) * u64::from(size)),
        )?;
        Ok(bytes)
    };
    if table == 0 || count == 0 {
        return Ok(false);
    }
    let names = section(word16(header, 62))?;
    let names = read_text(file, word64(&names, 24), word64(&names, 32))?;
    for index in 0..count.min(HEADERS_MAX) {
        let start = usize::try_from(word32(&section(index)?, 0)).unwrap_or(usize::MAX);
        let name = names
            .get(start..)
            .and_then(|rest| rest.split(|byte| *byte == 0).next());
        if matches!(
            name,
            Some(b".go.buildinfo" | b".note.go.buildid" | b".gopclntab")
        ) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_text(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut text = vec![0u8; usize::try_from(length.min(TEXT_BYTES_MAX)).unwrap_or(0)];
    file.read_exact_at(&mut text, offset)?;
    Ok(text)
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64)? {
            0 => break,
            more => got += more,
        }
    }
    Ok(got)
}

fn bytes_at<const SIZE: usize>(bytes: &[u8], offset: usize) -> [u8; SIZE] {
    bytes
        .get(offset..offset + SIZE)
        .and_then(|part| part.try_into().ok())
        .unwrap_or([0; SIZE])
}

fn word16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(bytes_at(bytes, offset))
}

fn word32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, offset))
}

fn word64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_a_dynamic_program_of_this_machine() {
        let file = File::open("/proc/self/exe").expect("own binary");
        let Binary::Elf(elf) = read(&file).expect("readable") else {
            panic!("not ELF")
        };
        assert!(elf.is_dynamic && !elf.is_go);
        assert!(elf.loader.expect("a loader").contains("ld-linux"));
    }

    #[test]
    fn a_go_note_is_found_among_others() {
        let note = |name: &[u8], contents: &[u8]| {
            let mut bytes = Vec::new();
            bytes.extend((name.len() as u32).to_le_bytes());
            bytes.extend((contents.len() as u32).to_le_bytes());
            bytes.extend(4u32.to_le_bytes());
            for part in [name, contents] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        };
        let gnu = note(b"GNU\0", b"12345");
        assert!(!has_go_note(&gnu));
        assert!(has_go_note(&[gnu.clone(), note(b"Go\0\0", b"id")].concat()));
        assert!(!has_go_note(&[255; 40]));
    }
}
