//! The memory that a kernel sees on the CPU: words, viewed as the types it needs.

/// One bound buffer.
#[derive(Debug)]
pub enum View<'a> {
    /// Bound for reading.
    Read(&'a [u32]),
    /// Bound for writing, or for reading and writing.
    Write(&'a mut [u32]),
}

impl View<'_> {
    /// The words.
    pub fn words(&self) -> &[u32] {
        match self {
            Self::Read(words) => words,
            Self::Write(words) => words,
        }
    }

    /// The words as f32.
    pub fn f32(&self) -> &[f32] {
        bytemuck::must_cast_slice(self.words())
    }

    /// The words for writing.
    ///
    /// # Panics
    /// If the kernel's contract binds this buffer for reading only.
    pub fn words_mut(&mut self) -> &mut [u32] {
        match self {
            Self::Read(_) => panic!("a kernel writes to a binding that its contract calls read-only"),
            Self::Write(words) => words,
        }
    }

    /// The words as f32, for writing.
    ///
    /// # Panics
    /// As [`Self::words_mut`].
    pub fn f32_mut(&mut self) -> &mut [f32] {
        bytemuck::must_cast_slice_mut(self.words_mut())
    }
}

/// Storage bindings that a kernel may have on portable limits.
pub const MAX_BINDINGS: usize = 8;

/// All storage bindings of one dispatch, in the order of the contract.
#[derive(Debug)]
pub struct Bindings<'a>([Option<View<'a>>; MAX_BINDINGS]);

impl<'a> Bindings<'a> {
    /// Bindings over these views.
    ///
    /// # Panics
    /// If there are more than [`MAX_BINDINGS`], which no kernel's contract binds.
    #[inline]
    pub fn new(views: impl IntoIterator<Item = View<'a>>) -> Self {
        // In place: a list on the heap would take as long as a small kernel.
        let mut bindings = [const { None }; MAX_BINDINGS];
        for (i, view) in views.into_iter().enumerate() {
            bindings[i] = Some(view);
        }
        Self(bindings)
    }

    /// The views, one by one.
    ///
    /// # Panics
    /// If the contract has another number of bindings.
    #[inline]
    pub fn take<const N: usize>(mut self) -> [View<'a>; N] {
        const AS_MANY: &str = "a kernel takes as many views as its contract binds";
        let taken = std::array::from_fn(|i| self.0.get_mut(i).and_then(Option::take).expect(AS_MANY));
        assert!(self.0.iter().all(Option::is_none), "{AS_MANY}");
        taken
    }
}
